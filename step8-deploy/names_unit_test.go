package step8_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// In the client's service, a unit of its own writes resolv.conf. Whichever of the two is
// killed, and whatever others write, names are asked for in the tunnel. In the end, the file
// is as another program has written it.
func TestNamesUnit(t *testing.T) {
	const found, written = "nameserver 198.51.100.1\n", "nameserver 198.51.100.2\n"
	w := newWorld(t)
	b := w.box(t)
	w.server(t)
	b.write("etc/resolv.conf", found)
	b.boot()
	read := func() string {
		text, _ := os.ReadFile(b.path("etc/resolv.conf"))
		return string(text)
	}
	tunnels := func(when string) {
		t.Helper()
		netlab.Eventually(t, limit, "the tunnel's resolver is asked: "+when, func() bool {
			return strings.Contains(read(), "nameserver 10.8.0.1\n") && !strings.Contains(read(), "198.51.100")
		})
		w.seenAs(t, w.Server.V4.String())
	}
	b.up()
	tunnels("at first")
	pid := b.of("MainPID")
	b.run("systemctl", "kill", "--signal=KILL", "stepvpn-names")
	tunnels("its writer was killed")
	b.run("systemctl", "restart", "stepvpn-names")
	tunnels("its writer was restarted")
	require.Equal(t, pid, b.of("MainPID"), "the client goes on")
	b.kill()
	tunnels("the client was killed")
	b.write("etc/resolv.conf", written)
	tunnels("another program has written it")
	b.run("systemctl", "stop", "stepvpn-client")
	require.Equal(t, written, read(), "the other program's text")
	out, _ := b.try("systemctl", "is-active", "stepvpn-names")
	require.Equal(t, "inactive", out)
	require.NotContains(t, b.run("ls", "/etc"), "before-stepvpn")
}

// resolvedVar is the variable with the folder of systemd-resolved's unpacked package, or with
// "!" and the reason why there is none.
const resolvedVar = "STEPVPN_TEST_RESOLVED"

// fetchResolved fetches the package while there is a network, which is outside of the lab.
func fetchResolved() {
	if _, done := os.LookupEnv(resolvedVar); done || os.Getenv("STEPVPN_SKIP_NETNS") == "1" {
		return
	}
	folder, err := filepath.Abs("../.cache/debian")
	if err != nil {
		panic(err)
	}
	out, err := exec.Command("../step6-dns/resolvconf/testdata/unpack.sh", folder, "systemd-resolved").CombinedOutput()
	if err != nil {
		folder = "!" + err.Error() + ": " + string(out)
	}
	os.Setenv(resolvedVar, filepath.Join(folder, "systemd-resolved"))
}

// installResolved puts systemd-resolved into a box, as most distributions have it: programs
// ask its stub.
func (b *box) installResolved() {
	b.t.Helper()
	from := os.Getenv(resolvedVar)
	require.NotContains(b.t, from, "!", "this test needs a Debian package")
	for name, to := range map[string]string{
		"usr/bin/resolvectl":                                      "usr/local/bin/resolvectl",
		"lib/systemd/systemd-resolved":                            "usr/local/lib/systemd-resolved",
		"usr/share/dbus-1/system.d/org.freedesktop.resolve1.conf": "etc/dbus-1/system.d/org.freedesktop.resolve1.conf",
		"lib/systemd/system/systemd-resolved.service":             "etc/systemd/system/systemd-resolved.service",
	} {
		text, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(b.t, err)
		b.write(to, strings.Replace(string(text), "!!/lib/systemd/systemd-resolved", "!!/usr/local/lib/systemd-resolved", 1))
		if strings.HasPrefix(to, "usr/") {
			require.NoError(b.t, os.Chmod(b.path(to), 0o755))
		}
	}
	passwd, err := os.ReadFile(b.path("etc/passwd"))
	require.NoError(b.t, err)
	b.write("etc/passwd", string(passwd)+"systemd-resolve:x:22600:22600::/:/usr/sbin/nologin\n")
	group, err := os.ReadFile(b.path("etc/group"))
	require.NoError(b.t, err)
	b.write("etc/group", string(group)+"systemd-resolve:x:22600:\n")
	wants := b.path("etc/systemd/system/sysinit.target.wants")
	require.NoError(b.t, os.MkdirAll(wants, 0o755))
	require.NoError(b.t, os.Symlink("../systemd-resolved.service", filepath.Join(wants, "systemd-resolved.service")))
	require.NoError(b.t, os.Remove(b.path("etc/resolv.conf")))
	require.NoError(b.t, os.Symlink("../run/systemd/resolve/stub-resolv.conf", b.path("etc/resolv.conf")))
}

// If systemd-resolved manages the names, the unit tells it, through a bus at which the unit
// has no privileges, also after systemd-resolved was restarted and has forgotten.
func TestNamesUnitWithResolved(t *testing.T) {
	w := newWorld(t)
	w.Cafe.ServeDNS(t)
	b := w.box(t)
	w.server(t)
	b.installResolved()
	b.boot()
	link := func() string { out, _ := b.try("resolvectl", "dns", "vpn0"); return out }
	tunnels := func(when string) {
		t.Helper()
		netlab.Eventually(t, limit, "systemd-resolved asks in the tunnel: "+when, func() bool { return strings.Contains(link(), "10.8.0.1") })
		w.seenAs(t, w.Server.V4.String())
	}
	b.up()
	tunnels("at first")
	target, err := os.Readlink(b.path("etc/resolv.conf"))
	require.NoError(t, err)
	require.Contains(t, target, "stub-resolv.conf", "the file stays as it is")
	b.run("systemctl", "restart", "systemd-resolved")
	tunnels("it was restarted")
	b.run("resolvectl", "dns", "vpn0", "192.0.2.1")
	tunnels("it was told of others")
	b.run("systemctl", "kill", "--signal=KILL", "stepvpn-names")
	b.run("resolvectl", "revert", "vpn0")
	tunnels("the unit was killed, and its setting is reverted")
	b.run("systemctl", "stop", "stepvpn-client")
	again, err := os.Readlink(b.path("etc/resolv.conf"))
	require.NoError(t, err)
	require.Equal(t, target, again)
	// While systemd-resolved was away, the file may have been replaced. It reads the file
	// again when it is asked for a name.
	netlab.Eventually(t, limit, "systemd-resolved asks in the tunnel no more", func() bool {
		b.try("resolvectl", "query", "www.example")
		return !strings.Contains(b.run("resolvectl", "dns"), "10.8.0.1")
	})
}
