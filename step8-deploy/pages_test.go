package step8_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The pages are installed and removed with the program, and the man pages say the same as the
// pages.
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
	for _, page := range []string{"README.md", "SETTINGS.md", "COMMANDS.md", "OPERATING.md", "server.toml", "client.toml"} {
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
	commands, err := os.ReadFile("COMMANDS.md")
	require.NoError(t, err)
	for md, roff := range map[string]string{`(?m)^### (.*)$`: `(?m)^\.SS (.*)$`, `(?m)^\| (-\S*)(?: \S*)? \|`: `(?m)^\.B (-[^ \n]*)(?: .*)?$`} {
		var want, got []string
		for _, m := range regexp.MustCompile(md).FindAllSubmatch(commands, -1) {
			want = append(want, string(m[1]))
		}
		for _, m := range regexp.MustCompile(roff).FindAllStringSubmatch(strings.ReplaceAll(string(page), `\-`, "-"), -1) {
			got = append(got, m[1])
		}
		require.Greater(t, len(want), 20)
		require.Equal(t, want, got)
	}

	// The completion scripts are where the shells look for them.
	completion := map[string]string{"bash": "bash-completion/completions/stepvpn", "zsh": "zsh/site-functions/_stepvpn", "fish": "fish/vendor_completions.d/stepvpn.fish"}
	for shell, file := range completion {
		want, err := exec.Command(filepath.Join(dir, "usr/local/bin/stepvpn"), "completion", shell).Output()
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(share, file))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	// zsh uses fpath for that, and fish XDG_DATA_DIRS.
	t.Setenv("PATH", filepath.Join(dir, "usr/local/bin")+":"+os.Getenv("PATH"))
	t.Setenv("XDG_DATA_DIRS", share)
	t.Setenv("HOME", t.TempDir())
	for _, c := range []struct{ shell, option, script, want string }{
		{"zsh", "-f", "fpath=(" + share + "/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D; echo ${_comps[stepvpn]}", "_stepvpn"},
		{"fish", "--private", "complete -C 'stepvpn rot'", "rotate-key"},
	} {
		out, err := exec.Command(c.shell, c.option, "-c", c.script).CombinedOutput()
		require.NoError(t, err, "shared/lab/setup.sh %s installs it: %s", c.shell, out)
		require.Contains(t, string(out), c.want)
	}

	run("uninstall")
	for _, name := range append(slices.Collect(maps.Values(completion)), "doc/stepvpn", "man/man5/stepvpn.toml.5", "man/man8/stepvpn.8") {
		require.NoFileExists(t, filepath.Join(share, name))
		require.NoDirExists(t, filepath.Join(share, name))
	}
}
