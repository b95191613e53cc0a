package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// If an error of step 7 tells people to type a command, this program has that command.
func TestHints(t *testing.T) {
	dir := t.TempDir()
	fails := func(want string, args ...string) {
		t.Helper()
		out, code := stepvpn(t, dir, args...)
		require.Equal(t, 1, code, out)
		require.Contains(t, out, want)
	}
	fails("there is no key file no.key\n  'stepvpn init server' makes it, on the server.\n", "clients", "public-key", "-key", "no.key")
	fails("there is no registry none\n  'stepvpn init server' makes it, with a key for the server; so does adding the first client.\n",
		"clients", "revoke", "alice", "-registry", "none")
	out, code := stepvpn(t, dir, "init", "server", "-dir", ".")
	require.Zero(t, code, out)
	add := []string{"clients", "add", "alice", "-registry", "clients", "-key", "server.key", "-server", "192.0.2.1:5555"}
	out, code = stepvpn(t, dir, add...)
	require.Zero(t, code, out)
	fails("To give alice a new key, type 'stepvpn clients revoke alice' first.\n", add...)
	fails("'stepvpn clients list' shows all clients.\n", "clients", "revoke", "zebra", "-registry", "clients")
}

// texts returns all texts that a package passes to some functions: the literals among each
// call's arguments, joined.
func texts(t *testing.T, folder string, functions ...string) (list []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is {
				return true
			}
			if of, is := call.Fun.(*ast.SelectorExpr); is {
				if x, is := of.X.(*ast.Ident); is && slices.Contains(functions, x.Name+"."+of.Sel.Name) {
					list = append(list, literals(t, call.Args)...)
				}
			}
			return true
		})
	}
	return list
}

func literals(t *testing.T, args []ast.Expr) (list []string) {
	for _, a := range args {
		text := ""
		ast.Inspect(a, func(n ast.Node) bool {
			if _, is := n.(*ast.CallExpr); is {
				return false // this one is checked on its own
			}
			if l, is := n.(*ast.BasicLit); is && l.Kind == token.STRING {
				s, err := strconv.Unquote(l.Value)
				require.NoError(t, err)
				text += s
			}
			return true
		})
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}

// No text of a package of steps 1 to 7 that is a part of this program mentions a command or a
// flag that only the programs of those steps have.
func TestNothingOfOtherPrograms(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Dir}}", ".").Output()
	require.NoError(t, err)
	others := regexp.MustCompile(`'(ip|ss|nft|sysctl|[^']*%s (rule|route))[^']*'|: (ip|mv|sudo|chattr|sysctl|chmod) .*|docker run.*|argon2 [^']*'|\(sudo [^)]*\)|sudo apt-get .*`)
	wrong := regexp.MustCompile(`keygen|make demo|'user |-recover|'clients |client file|[ (']-[a-z]`)
	// The texts of these packages are about the commands 'stepvpn clients', with their flags.
	// (This program neither reads a client's file of step 7, nor makes a key file.)
	flags := regexp.MustCompile(`[ (']-(out|registry|server|server-key|key|addr)\b|(no )?client file.*|The server's owner makes it.*|If nobody has read it so far.*`)
	seen := 0
	for line := range strings.Lines(string(out)) {
		path, folder, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !regexp.MustCompile(`^stepvpn/step[1-7]`).MatchString(path) {
			continue
		}
		usage := texts(t, folder, "app.Usage")
		for i, text := range append(usage, texts(t, folder, "app.Hint", "fmt.Errorf", "errors.New")...) {
			seen++
			said := text
			if i >= len(usage) {
				said = inOurWords(text)
			}
			said = others.ReplaceAllString(said, "")
			switch path {
			case "stepvpn/step7-auth/clients", "stepvpn/step7-auth/identity", "stepvpn/step4-crypto/keyfile":
				said = flags.ReplaceAllString(said, "")
			}
			assert.NotRegexp(t, wrong, said, "%s: %s", path, text)
		}
	}
	require.Greater(t, seen, 200, "the search finds them")
	require.Regexp(t, wrong, "Choose another name with -dev.", "and the detector sees")
}

// These are some of the texts in full.
func TestInOurWords(t *testing.T) {
	for is, want := range map[string]string{
		"Choose another name with -dev. To see what has it: ip -details link show vpn0":    "Choose another name with the setting device. To see what has it: ip -details link show vpn0",
		"'ip link' lists the interfaces. Without -egress it is that of the default route.": "'ip link' lists the interfaces. Without the setting egress it is that of the default route.",
		"When that is mended: stepvpn -recover":                                            "When that is mended, type: stepvpn recover",
		"Copy the whole file from the other side, or make a new key with keygen.":          "Copy the whole file from the other side, or make a new one.",
		"'clients list' shows all clients.":                                                "'stepvpn clients list' shows all clients.",
		"-server is missing: where?":                                                       "-server is missing: where?",
	} {
		require.Equal(t, want, inOurWords(is))
	}
}
