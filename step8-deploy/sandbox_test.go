package step8_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A keeper must be able to do the things in keepers, and each service those in needs.
var (
	keepers = []string{"open a TUN device", "change the firewall", "mark a socket", "add a route", "read its key", "read its settings", "keep state", "read keys",
		"send process 1 a signal"} // process 1 belongs to root, too
	needs = map[string][]string{
		"server":        append([]string{"turn forwarding on", "listen on port 53", "change the registry"}, keepers...),
		"client":        keepers,
		"server-worker": nil,
		"client-worker": nil,
		// A process that replaces a file in /etc may also make new files there. That is why it
		// is a process of its own, which reads no packet.
		"names": {"replace resolv.conf", "keep state", "send process 1 a signal", "make a file that runs at boot", "make a file that all programs load"},
		// A file system of its own would come too early at boot, so it sees that of the host.
		// It reads nothing that comes from a network.
		"killswitch": {"change the firewall", "add a route", "read its settings", "read keys", "keep state", "replace resolv.conf",
			"have systemd run a command", "talk to systemd", "talk to the system bus", "send process 1 a signal",
			"open a TUN device", "turn forwarding on", "write its settings", "replace its settings", "write keys", "change the registry", "write units", "write what dhclient runs", "write what cron runs",
			"make a file that runs at boot", "make a file that all programs load",
			"write passwords", "read passwords", "write programs", "write elsewhere", "read homes"},
	}
)

// This tests the units' sandbox with a real systemd: the services may do what they need, and
// nothing else. A service without a sandbox first shows that the rest is possible at all.
func TestSandbox(t *testing.T) {
	const host = "server"
	netlab.New(t)
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	program := filepath.Join(t.TempDir(), "sandboxed")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./units/sandboxed")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // like an installed one
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	root := must(t, "root", host)
	install(t, root, program)
	// Each starts alone, because some attempts fail if two services make them at the same
	// time; and without what systemd starts before it, which has no sandbox.
	units, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/stepvpn-*.service"))
	require.NoError(t, err)
	require.NotEmpty(t, units)
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		require.NoError(t, err)
		text = regexp.MustCompile(`(?m)^(Wants=.*stepvpn-|ExecStartPre=).*\n`).ReplaceAll(text, nil)
		require.NoError(t, os.WriteFile(unit, text, 0o644))
	}
	must(t, "boot", host)
	t.Cleanup(func() { machine(t, "off", host) })
	for role, needed := range needs {
		journal := func() string {
			log, _ := machine(t, "exec", host, "journalctl", "--no-pager", "-o", "cat", "-u", "stepvpn-"+role)
			return log
		}
		start := func() (may []string) {
			before := strings.Count(journal(), "may: ")
			out, err := machine(t, "exec", host, "systemctl", "start", "stepvpn-"+role)
			var log string
			netlab.Eventually(t, limit, "it has tried everything: "+out, func() bool {
				log = journal()
				return strings.Count(log, "may: ") > before
			})
			require.NoError(t, err, "%s\n%s", out, log)
			if role != "killswitch" { // it stops by itself when nobody needs it
				must(t, "exec", host, "systemctl", "stop", "stepvpn-"+role)
			}
			t.Logf("%s", log)
			_, list, found := cutLast(log, "may: ")
			require.True(t, found, log)
			list, _, _ = strings.Cut(list, ".\n")
			return slices.DeleteFunc(strings.Split(strings.TrimSuffix(list, "."), ", "), func(s string) bool { return s == "" })
		}
		sandboxed := start()
		for _, what := range needed {
			require.Contains(t, sandboxed, what, role)
		}
		for _, what := range sandboxed {
			require.Contains(t, needed, what, "%s may do more than it needs", role)
		}

		// This is the same without a sandbox.
		unit := filepath.Join(root, "etc/systemd/system/stepvpn-"+role+".service")
		text, err := os.ReadFile(unit)
		require.NoError(t, err)
		before, rest, found := strings.Cut(string(text), "# --- Sandbox")
		require.True(t, found)
		before = regexp.MustCompile(`(?m)^User=.*$`).ReplaceAllString(before, "")
		_, after, _ := strings.Cut(rest, "\n[Install]") // not all services have one
		require.NoError(t, os.WriteFile(unit, []byte(before+"\n[Install]"+after), 0o644))
		must(t, "exec", host, "systemctl", "daemon-reload")
		all := 34
		if role == "killswitch" || role == "names" || strings.HasSuffix(role, "-worker") {
			all-- // it gets no key
		}
		if role == "names" || strings.HasSuffix(role, "-worker") {
			all-- // nor a file of settings
		}
		require.Len(t, start(), all, "everything that is tried can be done")
		require.NoError(t, os.WriteFile(unit, text, 0o644)) // it may be started together with the next one
		must(t, "exec", host, "systemctl", "daemon-reload")
	}
}

// cutLast is like strings.Cut, but at the last occurrence.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// install puts a program in the place of stepvpn, with its units and some settings.
func install(t *testing.T, root, program string) {
	cmd := exec.Command("make", "install", "DESTDIR="+root)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(program)
	require.NoError(t, err)
	write := func(name string, text []byte, mode os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		os.Remove(filepath.Join(root, name))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), text, mode))
	}
	write("usr/local/bin/stepvpn", text, 0o755)
	for _, name := range []string{"server.toml", "client.toml", "server.key", "client.key", "clients"} {
		write("etc/stepvpn/"+name, []byte("x\n"), 0o600)
	}
	write("etc/resolv.conf", []byte("nameserver 192.0.2.1\n"), 0o644)
	write("etc/shadow", []byte("root:x\n"), 0o600)
	for _, folder := range []string{"srv", "mnt", "var/lib/stepvpn", "etc/dhcp/dhclient-exit-hooks.d", "etc/cron.d"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, folder), 0o755))
	}
}
