// Package shared_test holds what is true of the workspace as a whole.
package shared_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	stepPath    = regexp.MustCompile(`^stepvpn/step(\d+)-[a-z]+(/.*)?$`)
	chapterPath = regexp.MustCompile(`^stepvpn/step\d+-[a-z]+/further/([a-z]+)(/.*)?$`)
)

// step returns the number of the step that a package belongs to; shared is 0.
func step(pkg string) int {
	m := stepPath.FindStringSubmatch(pkg)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// chapter returns the name of the chapter that a package belongs to, or "".
func chapter(pkg string) string {
	if m := chapterPath.FindStringSubmatch(pkg); m != nil {
		return m[1]
	}
	return ""
}

// forbidden says what is wrong with one import, or "".
func forbidden(pkg, imported string) string {
	switch {
	case !strings.HasPrefix(imported, "stepvpn/"):
		return ""
	case step(imported) > step(pkg):
		return "imports a later step"
	case chapter(pkg) != "" && chapter(imported) != "" && chapter(imported) != chapter(pkg):
		return "imports another chapter"
	case strings.Contains(imported, "/cmd/"):
		return "imports a program's wiring"
	}
	return ""
}

// badName says whether the name of a package says nothing about it.
func badName(pkg string) bool {
	return slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, filepath.Base(pkg))
}

func TestRules(t *testing.T) {
	require.NotEmpty(t, forbidden("stepvpn/shared/app", "stepvpn/step1-relay/relay"))
	require.NotEmpty(t, forbidden("stepvpn/step3-tunnel/tunnel", "stepvpn/step4-crypto/secure"))
	require.NotEmpty(t, forbidden("stepvpn/step4-crypto/cmd/client", "stepvpn/step3-tunnel/cmd/client"))
	require.NotEmpty(t, forbidden("stepvpn/step8-deploy/further/veil", "stepvpn/step8-deploy/further/wireguard/conf"))
	require.NotEmpty(t, forbidden("stepvpn/step7-auth/hub", "stepvpn/step8-deploy/further/wireguard"))
	require.Empty(t, forbidden("stepvpn/step8-deploy/further/wireguard", "stepvpn/step8-deploy/further/wireguard/conf"))
	require.Empty(t, forbidden("stepvpn/step8-deploy/cmd/stepvpn", "stepvpn/step8-deploy/further/wireguard"))
	require.Empty(t, forbidden("stepvpn/step4-crypto/cmd/client", "stepvpn/step3-tunnel/tunnel"))
	require.Empty(t, forbidden("stepvpn/step4-crypto/secure", "stepvpn/step4-crypto/noise"))
	require.Empty(t, forbidden("stepvpn/shared/app", "stepvpn/shared/link"))
	require.Empty(t, forbidden("stepvpn/shared/app", "log/slog"))
	require.True(t, badName("stepvpn/shared/util"))
	require.False(t, badName("stepvpn/shared/link"))
}

// Later steps import earlier ones, and never the other way round.
func TestImportsPointBackwards(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	seen := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := "stepvpn/" + filepath.ToSlash(dir)
		if badName(pkg) {
			t.Errorf("%s: the package's name says nothing about it", pkg)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, i := range file.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			seen++
			if why := forbidden(pkg, imported); why != "" {
				t.Errorf("%s %s: %s", path, why, imported)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 100, "the walk must have found the workspace")
}
