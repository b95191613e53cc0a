package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/app"
)

// The program answers a wrong command line with one clear line, with a suggestion if there is
// one, and with exit code 2.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	const all, flags = "\n  'stepvpn -help' lists the commands.\n", " -help' lists the flags.\n"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "stepvpn: a command is missing" + all},
		{"clients", 2, "stepvpn: clients: a command is missing\n  'stepvpn clients -help' lists the commands.\n"},
		{"recovr", 2, `stepvpn: "recovr" is not a command: did you mean "recover"?` + all},
		{"Status", 2, `stepvpn: "Status" is not a command: did you mean "status"?` + all},
		{"clients ad alice", 2, `stepvpn: "clients ad" is not a command: did you mean "clients add"?` + "\n  'stepvpn clients -help' lists the commands.\n"},
		{"hlp", 2, `stepvpn: "hlp" is not a command: did you mean "help"?` + all},
		{"connect", 2, `stepvpn: "connect" is not a command` + all},
		{strings.Repeat("status", 10_000), 2, `stepvpn: "` + strings.Repeat("status", 10_000) + `" is not a command` + all},
		{"-v status", 2, "stepvpn: a command is missing: flags such as -v stand behind it" + all},
		{"clients --registry x list", 2, "stepvpn: clients: a command is missing: flags such as -registry stand behind it\n  'stepvpn clients -help' lists the commands.\n"},
		{"status -jsn", 2, "stepvpn: flag provided but not defined: -jsn: did you mean -json?\n  'stepvpn status" + flags},
		{"status --scoket=x", 2, "stepvpn: flag provided but not defined: -scoket: did you mean -socket?\n  'stepvpn status" + flags},
		{"status -x", 2, "stepvpn: flag provided but not defined: -x\n  'stepvpn status" + flags},
		{"status -socket", 2, "stepvpn: flag needs an argument: -socket\n  'stepvpn status" + flags},
		{"wait-online --timeout soon", 2, "stepvpn: invalid value \"soon\" for flag -timeout: parse error\n  'stepvpn wait-online" + flags},
		{"status server", 2, "stepvpn: unexpected argument \"server\": every setting is a flag\n  'stepvpn status" + flags},
		{"check a b", 2, "stepvpn: unexpected argument \"b\" after FILE\n  'stepvpn check" + flags},
		{"clients revoke", 2, "stepvpn: NAME is missing\n  'stepvpn clients revoke" + flags},
		{"pause -5m", 2, "stepvpn: \"-5m\" is not a time from 1s to 24h, such as 5m\n  'stepvpn pause" + flags},
		{"completion tcsh", 2, "stepvpn: \"tcsh\" is not one of the shells bash, fish, zsh\n  'stepvpn completion" + flags},

		// "help" can be the name of a client.
		{"clients revoke help -registry none", 1, "stepvpn: there is no registry none\n  'stepvpn init server' makes it, with a key for the server; so does adding the first client.\n"},
		{"clients revoke h -registry none", 1, "stepvpn: there is no registry none\n  'stepvpn init server' makes it, with a key for the server; so does adding the first client.\n"},
	} {
		out, code := stepvpn(t, dir, strings.Fields(c.args)...)
		require.Equal(t, c.want, out, "%.50s", c.args)
		require.Equal(t, c.code, code, "%.50s", c.args)
	}
}

// A flag may have one dash or two, and stand before or after the arguments.
func TestFlagForms(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{
		"clients revoke -registry none -v alice", "clients revoke alice -v -registry none", "clients revoke --registry none alice --v",
		"clients revoke alice --registry=none", "clients revoke -v=false -registry=none alice", "clients revoke -registry none -- alice",
		"clients revoke -v -registry other --registry none alice",
	} {
		out, code := stepvpn(t, dir, strings.Fields(args)...)
		require.Equal(t, 1, code, "%s: %s", args, out)
		require.Contains(t, out, "stepvpn: there is no registry none\n", args)
	}
	out, _ := stepvpn(t, dir, "status", "-socket", "")
	require.Contains(t, out, "/run/stepvpn", "an empty value is one")
}

// flagLine finds the lines about flags in help: the name, and the kind of the value, if any.
var flagLine = regexp.MustCompile(`(?m)^   -(\S+(?: \S+)?) {2,}\S`)

// Help lists exactly the existing flags, and -help works wherever a flag does.
func TestHelp(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"-help", "--help", "-h", "help"} {
		out, code := stepvpn(t, dir, args)
		require.Zero(t, code, out)
		for _, c := range commands() {
			name, below, _ := strings.Cut(c.Name, " ")
			require.Regexp(t, `(?m)^   `+name+" .*"+below, out)
		}
	}
	out, code := stepvpn(t, dir, "clients", "x", "-help")
	require.Zero(t, code, out)
	require.Contains(t, out, "stepvpn clients")
	for _, c := range commands() {
		flag.CommandLine = flag.NewFlagSet("", flag.ContinueOnError)
		c.Setup()
		app.Verbose()
		want := []string{"help"}
		flag.VisitAll(func(f *flag.Flag) {
			kind, _ := flag.UnquoteUsage(f)
			want = append(want, strings.TrimSpace(f.Name+" "+kind))
		})
		for _, more := range []string{"-help", "x --help", "-v -h"} {
			out, code := stepvpn(t, dir, strings.Fields(c.Name+" "+more)...)
			require.Zero(t, code, out)
			require.Contains(t, out, "stepvpn "+c.Name+" - "+c.About+"\n")
			require.Contains(t, out, strings.TrimSpace("stepvpn "+c.Name+" [options] "+c.Args)+"\n")
			var listed []string
			for _, m := range flagLine.FindAllStringSubmatch(out, -1) {
				listed = append(listed, m[1])
			}
			require.ElementsMatch(t, want, listed, out)
		}
	}
}

//go:generate go test -run TestReference -update .

var update = flag.Bool("update", false, "write COMMANDS.md")

// COMMANDS.md has every command and flag of the program, and nothing else.
func TestReference(t *testing.T) {
	const page = "../../COMMANDS.md"
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(reference()), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, reference(), string(got), "go generate ./cmd/stepvpn writes it")
	require.Equal(t, len(commands()), strings.Count(string(got), "\n### stepvpn "))
}

// reference returns a page in Markdown about all commands.
func reference() string {
	var b strings.Builder
	b.WriteString(`# Commands

This page is made from the program (go generate ./cmd/stepvpn), and a test compares them.

## Commands

A flag may have one dash or two, and stand before or after the arguments. Its value follows as the next word, or after "=".
The exit code is 2 for a wrong command line, and 1 for any other error.
`)
	for _, c := range commands() {
		flag.CommandLine = flag.NewFlagSet("", flag.ContinueOnError)
		c.Setup()
		app.Verbose()
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| flag | is for |\n|---|---|\n", strings.TrimSpace("stepvpn "+c.Name+" "+c.Args), c.About)
		flag.VisitAll(func(f *flag.Flag) {
			name, usage, _ := strings.Cut(describeFlag(f), "\t")
			fmt.Fprintf(&b, "| %s | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
		})
	}
	return b.String()
}
