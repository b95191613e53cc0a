package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// The test binary is also the program stepvpn.
func TestMain(m *testing.M) {
	if os.Getenv("STEPVPN_TEST_PROGRAM") == "1" {
		os.Args[0] = "stepvpn"
		main()
	}
	os.Exit(m.Run())
}

const aKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

// stepvpn runs the program in a folder, and returns what it printed and its exit
// code.
func stepvpn(t *testing.T, dir string, args ...string) (string, int) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STEPVPN_TEST_PROGRAM=1", "CREDENTIALS_DIRECTORY=", "GORACE=atexit_sleep_ms=0")
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

func TestInitAndCheck(t *testing.T) {
	dir := t.TempDir()
	out, code := stepvpn(t, dir, "init", "server", "-dir", "etc")
	require.Zero(t, code, out)
	require.Regexp(t, `^wrote etc/server.toml and etc/server.key; the registry of clients is etc/clients\nthe server's public key, which its clients need: \S{44}\n$`, out)
	public := strings.TrimSpace(out[strings.LastIndex(out, " ")+1:])

	out, code = stepvpn(t, dir, "init", "client", "-dir", "etc", "-server", "a.example.org:1,192.0.2.1:2", "-server-key", public, "-transport", "tcp")
	require.Zero(t, code, out)
	for _, name := range []string{"server.toml", "server.key", "clients", "client.toml", "client.key"} {
		info, err := os.Stat(filepath.Join(dir, "etc", name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}

	// Existing files are overwritten only with -force.
	before, err := os.ReadFile(filepath.Join(dir, "etc", "server.key"))
	require.NoError(t, err)
	out, code = stepvpn(t, dir, "init", "server", "-dir", "etc")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stepvpn: etc/server.key exists already, and is left as it is\n")
	after, err := os.ReadFile(filepath.Join(dir, "etc", "server.key"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	// -force does not replace a key or a registry.
	registry, err := os.ReadFile(filepath.Join(dir, "etc", "clients"))
	require.NoError(t, err)
	registry = append(registry, "alice "+aKey+"\n"...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc", "clients"), registry, 0o600))
	out, code = stepvpn(t, dir, "init", "server", "-dir", "etc", "-force", "-listen", ":5556")
	require.Zero(t, code, out)
	require.Contains(t, out, public)
	for name, want := range map[string]string{"server.key": string(before), "clients": string(registry)} {
		now, err := os.ReadFile(filepath.Join(dir, "etc", name))
		require.NoError(t, err)
		require.Equal(t, want, string(now))
	}
	settings, err := os.ReadFile(filepath.Join(dir, "etc", "server.toml"))
	require.NoError(t, err)
	require.Contains(t, string(settings), ":5556")

	require.NoError(t, os.Chmod(filepath.Join(dir, "etc", "server.key"), 0o644))
	out, code = stepvpn(t, dir, "check", "etc/server.toml")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stepvpn: key file etc/server.key may be read or changed by users other than its owner (mode 0644)\n"+
		"  If nobody has read it so far, type: chmod 600 etc/server.key. Otherwise make a new key.\n", out)
}

// If settings are not allowed, no file is left behind.
func TestInitRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"init server -dir etc -subnets 10.8.0.0/24", 1, "the address of the subnet itself"},
		{"init server -dir etc -listen x", 1, "not an address with a port"},
		{"init client -dir etc", 2, "-server and -server-key are missing"},
		{"init client -dir etc -server x:1 -server-key short", 1, "server_key is not a key in base64"},
		{"init client -dir etc -server x -server-key " + aKey, 1, "without a port"},
		{"init client -dir etc -server x:1 -server-key " + aKey + " -transport both", 1, `transport is "both"`},
		{"init", 2, "a command is missing"},
		{"check", 2, "FILE is missing"},
		{"check none.toml", 1, "there is no file none.toml"},
		{"version x", 2, "unexpected argument"},
	} {
		out, code := stepvpn(t, dir, strings.Fields(c.args)...)
		require.Equal(t, c.code, code, "%s: %s", c.args, out)
		require.Contains(t, out, c.want)
		require.NoDirExists(t, filepath.Join(dir, "etc"))
	}
}

// serveStatus answers at a status socket, as a daemon does.
func serveStatus(t *testing.T, path string, report func() *status.Report) (stop func()) {
	l, err := control.Socket{Path: path, Name: control.Status}.Listen()
	require.NoError(t, err)
	return publish(l, nil, report)
}

func TestStatus(t *testing.T) {
	dir := t.TempDir()
	out, code := stepvpn(t, dir, "status", "-socket", "none.sock")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stepvpn: no daemon answers at none.sock\n")

	started := time.Now()
	path := filepath.Join(dir, "s.sock")
	defer serveStatus(t, path, func() *status.Report {
		now := time.Now()
		return &status.Report{Role: "server", Version: "v1", Now: now, Started: started, State: "up", Peers: []status.Peer{{
			Name: "alice", Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2")},
			Sent: status.Flow{Bytes: uint64(now.Sub(started) / time.Microsecond)}, // 1 MB/s
		}}}
	})()
	out, code = stepvpn(t, dir, "status", "-socket", "s.sock")
	require.Zero(t, code, out)
	require.Regexp(t, `(?m)^alice +10.8.0.2 .* (1.0 MB|999 kB|1000 kB)/s +0 B/s$`, out)
	out, code = stepvpn(t, dir, "status", "-socket", "s.sock", "-json")
	require.Zero(t, code, out)
	var r status.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.InDelta(t, 1e6, r.Peers[0].Sent.Rate, 1e3)
}

func TestVersion(t *testing.T) {
	out, code := stepvpn(t, t.TempDir(), "version")
	require.Zero(t, code)
	require.Regexp(t, `^stepvpn development \(go1\.\d+.*, linux/\w+\)\n$`, out)
}
