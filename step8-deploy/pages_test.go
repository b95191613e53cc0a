package step8_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is to be read is installed with the program, and the man pages say what the pages
// do; and it goes with the program.
func TestPagesAreInstalled(t *testing.T) {
	dir := t.TempDir()
	run := func(what string) {
		t.Helper()
		cmd := exec.Command("make", "--silent", what, "DESTDIR="+dir)
		cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("install")
	share := filepath.Join(dir, "usr/local/share")
	for _, page := range []string{"README.md", "SETTINGS.md", "OPERATING.md", "server.toml", "client.toml"} {
		require.FileExists(t, filepath.Join(share, "doc/stepvpn", page))
	}
	settings, err := os.ReadFile("SETTINGS.md")
	require.NoError(t, err)
	page, err := os.ReadFile(filepath.Join(share, "man/man5/stepvpn.toml.5"))
	require.NoError(t, err)
	keys := regexp.MustCompile(`(?m)^\| ([a-z_]+) \| [^a]`).FindAllStringSubmatch(string(settings), -1)
	require.Greater(t, len(keys), 20)
	for _, key := range keys {
		require.Contains(t, string(page), "\n.B "+key[1]+"\n")
	}
	page, err = os.ReadFile(filepath.Join(share, "man/man8/stepvpn.8"))
	require.NoError(t, err)
	require.Contains(t, string(page), "stepvpn clients revoke NAME")
	require.NotContains(t, string(page), "](")

	run("uninstall")
	for _, name := range []string{"doc/stepvpn", "man/man5/stepvpn.toml.5", "man/man8/stepvpn.8"} {
		require.NoFileExists(t, filepath.Join(share, name))
		require.NoDirExists(t, filepath.Join(share, name))
	}
}
