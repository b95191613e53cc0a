// Package units_test lets systemd check the units.
package units_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// This is the highest exposure that each unit may have, of 10 (systemd-analyze security).
var exposure = map[string]float64{
	"stepvpn-server.service": 3.0, "stepvpn-client.service": 3.0, // for the keepers
	"stepvpn-server-worker.service": 2.0, "stepvpn-client-worker.service": 2.0,
	"stepvpn-killswitch.service": 6.0, "stepvpn-resolved.service": 2.0, "stepvpn-names.service": 3.0, "stepvpn-wait-online.service": 2.0,
	"stepvpn-web.service": 2.0, "stepvpn-conntrack.service": 2.0,
}

// analyze runs systemd-analyze, and fails the test if there is none.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	_, err := exec.LookPath("systemd-analyze")
	require.NoError(t, err, "shared/lab/setup.sh systemd-analyze installs it")
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

// installed writes the units for a prefix in which the program is installed.
func installed(t *testing.T) (dir string) {
	prefix := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(prefix, "bin"), 0o755))
	for _, program := range []string{"stepvpn", "stepvpn-web"} {
		require.NoError(t, os.WriteFile(filepath.Join(prefix, "bin", program), []byte("#!/bin/sh\n"), 0o755))
	}
	for _, name := range append(slices.Collect(maps.Keys(exposure)), "stepvpn-resolved.socket") {
		text, err := os.ReadFile(name + ".in")
		require.NoError(t, err)
		text = []byte(strings.ReplaceAll(string(text), "@PREFIX@", prefix))
		require.NoError(t, os.WriteFile(filepath.Join(prefix, name), text, 0o644))
	}
	return prefix
}

// about returns the lines about one of our units: systemd-analyze also reports problems of the
// machine's own units.
func about(unit, out string) (lines []string) {
	for line := range strings.Lines(out) {
		if strings.Contains(line, unit) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestVerify(t *testing.T) {
	dir := installed(t)
	for name := range exposure {
		out, _ := analyze(t, "verify", "--man=no", filepath.Join(dir, name))
		require.Empty(t, about(name, out))

		// The detector finds a mistake.
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		wrong := strings.Replace(string(text), "NoNewPrivileges=yes", "NoNewPrivileges=perhaps", 1)
		require.NotEqual(t, wrong, string(text))
		bad := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(bad, []byte(wrong), 0o644))
		out, _ = analyze(t, "verify", "--man=no", bad)
		require.NotEmpty(t, about(name, out))
	}
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestSecurity(t *testing.T) {
	dir := installed(t)
	for name, limit := range exposure {
		out, err := analyze(t, "security", "--offline=true", "--no-pager", filepath.Join(dir, name))
		require.NoError(t, err, out)
		m := overall.FindStringSubmatch(out)
		require.NotNil(t, m, out)
		level, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		require.LessOrEqual(t, level, limit, "%s:\n%s", name, out)
		require.Greater(t, level, 0.5, "a service with a network can't be that safe: the detector is broken")
		t.Logf("%s: %v", name, level)
	}
}

// 'make install' puts these files into these folders, and leaves settings alone.
func TestInstall(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "dest")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("make", append([]string{"-C", ".."}, append(args, "DESTDIR="+dest, "PREFIX=/opt/vpn")...)...)
		cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	// On an operator's machine it installs no package and no tool of the tests.
	const fetches = "setup.sh"
	require.Contains(t, run("--dry-run", "judges", "-C", "further/dashboard"), fetches, "the detector sees it")
	require.NotContains(t, run("--dry-run", "install"), fetches)
	path := func(name string) string { return filepath.Join(dest, name) }
	mode := func(name string) os.FileMode {
		info, err := os.Stat(path(name))
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	run("install")
	require.Equal(t, os.FileMode(0o700), mode("etc/stepvpn"))
	require.Equal(t, os.FileMode(0o755), mode("opt/vpn/bin/stepvpn"))
	require.Equal(t, os.FileMode(0o755), mode("opt/vpn/bin/stepvpn-web"))
	unit, err := os.ReadFile(path("etc/systemd/system/stepvpn-server.service"))
	require.NoError(t, err)
	require.Contains(t, string(unit), "\nExecStart=/opt/vpn/bin/stepvpn server -worker /run/stepvpn/server-keeper.sock /etc/stepvpn/server.toml\n")
	require.NotContains(t, string(unit), "@PREFIX@")
	out, err := exec.Command(path("opt/vpn/bin/stepvpn"), "version").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "stepvpn ")

	require.NoError(t, os.WriteFile(path("etc/stepvpn/server.toml"), []byte("mine"), 0o600))
	run("install")
	run("uninstall")
	text, err := os.ReadFile(path("etc/stepvpn/server.toml"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
	for _, gone := range []string{"opt/vpn/bin/stepvpn", "opt/vpn/bin/stepvpn-web", "etc/systemd/system/stepvpn-web.service", "etc/systemd/system/stepvpn-server.service", "etc/systemd/system/stepvpn-client.service", "etc/systemd/system/stepvpn-killswitch.service",
		"etc/systemd/system/stepvpn-wait-online.service", "etc/systemd/system/stepvpn-client-worker.service", "etc/sysusers.d/stepvpn.conf", "opt/vpn/share/doc/stepvpn"} {
		require.NoFileExists(t, path(gone))
		require.NoDirExists(t, path(gone))
	}
	run("uninstall") // a second time is no error
}
