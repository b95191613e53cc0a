package resolvconf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step6-dns/resolvconf/owner"
)

// bus is a system bus where everybody may do everything.
const bus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy>
</busconfig>`

// startResolved starts the real systemd-resolved, which asks the cafe's
// resolver, with a bus of its own.
func startResolved(t *testing.T) (stop func()) {
	t.Helper()
	root, busRoot := unpacked(t, "systemd-resolved"), unpacked(t, "dbus-daemon")
	var libs []string
	for _, r := range []string{root, busRoot} {
		found, err := filepath.Glob(r + "/usr/lib/*-linux-gnu*")
		require.NoError(t, err)
		more, err := filepath.Glob(r + "/lib/*-linux-gnu*")
		require.NoError(t, err)
		for _, dir := range append(found, more...) {
			libs = append(libs, dir, dir+"/systemd")
		}
	}
	t.Setenv("LD_LIBRARY_PATH", strings.Join(libs, ":"))
	t.Setenv("PATH", root+"/usr/bin:"+root+"/bin:"+busRoot+"/usr/bin:"+os.Getenv("PATH"))
	for _, dir := range []string{"/run/dbus", "/run/systemd/resolve"} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	config := filepath.Join(t.TempDir(), "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(bus), 0o644))
	start(t, "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	waitFor(t, "/run/dbus/system_bus_socket")
	stop = start(t, root+"/lib/systemd/systemd-resolved")
	netlab.Eventually(t, limit, "systemd-resolved answers", resolvedAnswers)
	resolvectl(t, "dns", "wifi0", cafeDNS)
	return stop
}

// uplink is systemd-resolved's list of resolvers.
const uplink = "/run/systemd/resolve/resolv.conf"

func resolvedAnswers() bool { return exec.Command("resolvectl", "status").Run() == nil }

// resolvectl runs it and returns what it says.
func resolvectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("resolvectl", args...).CombinedOutput()
	require.NoError(t, err, "resolvectl %v: %s", args, out)
	return string(out)
}

// settings is all that resolvectl can tell of the links, but for what changes by
// itself. It looks at /etc/resolv.conf only when it has to look up a name.
func settings(t *testing.T) []string {
	t.Helper()
	exec.Command("resolvectl", "query", "--network=no", "example.com").Run()
	var all []string
	for line := range strings.Lines(resolvectl(t, "status")) {
		if words := strings.Join(strings.Fields(line), " "); !strings.HasPrefix(words, "Current") {
			all = append(all, words)
		}
	}
	return all
}

// query asks systemd-resolved through its bus, as nss-resolve does.
func query(t *testing.T, name string) string {
	t.Helper()
	_, answer, _ := strings.Cut(resolvectl(t, "query", "-4", "--legend=no", name), ": ")
	return strings.Fields(answer)[0]
}

// How /etc/resolv.conf leads to systemd-resolved, or does not.
var ways = []struct {
	name, is string
	make     func(t *testing.T, h *host)
	becomes  string // how the file begins
	start    string // who answers then
}{
	{"stub", "systemd-resolved's (stub)", func(t *testing.T, h *host) { h.symlink(t, owner.Stub) }, toTheStub, cafeAnswer},
	{"relative", "systemd-resolved's (stub)", func(t *testing.T, h *host) {
		require.NoError(t, os.Symlink("../run/systemd/resolve/stub-resolv.conf", h.path))
	}, toTheStub, cafeAnswer},
	{"stub in a plain file", "systemd-resolved's (stub)", func(t *testing.T, h *host) {
		h.write(t, "# by hand\nnameserver 127.0.0.53\noptions edns0 trust-ad\n")
	}, "# by hand", cafeAnswer},
	{"its list", "systemd-resolved's (its list of resolvers)", func(t *testing.T, h *host) { h.symlink(t, uplink) }, toTheStub, cafeAnswer},
	{"plain", "a plain file", func(t *testing.T, h *host) { h.write(t, plain) }, "# Written by the VPN client", cafeAnswer},
	{"absent", "absent", func(*testing.T, *host) {}, toTheStub, ""},
	{"dangling", `a symlink to "/run/none"`, func(t *testing.T, h *host) { h.symlink(t, "/run/none") }, toTheStub, ""},
	{"other", `a symlink to "other.conf"`, func(t *testing.T, h *host) {
		require.NoError(t, os.WriteFile("/etc/other.conf", []byte(plain), 0o644))
		h.symlink(t, "other.conf")
	}, "# Written by the VPN client", cafeAnswer},
}

// toTheStub is how systemd-resolved's files begin.
const toTheStub = "# This is /run/systemd/resolve/stub-resolv.conf managed by man:systemd-resolved(8)."

func (h *host) symlink(t *testing.T, target string) {
	t.Helper()
	require.NoError(t, os.Symlink(target, h.path))
}

// The real systemd-resolved: names are looked up inside the tunnel whichever
// way a program asks, and afterwards as before.
func TestResolved(t *testing.T) {
	s := newScene(t)
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			h := privateEtc(t)
			w.make(t, h)
			startResolved(t)
			before, was := h.tree(t), settings(t)
			require.Equal(t, w.is, h.whose(t))
			outside := func(name string) {
				t.Helper()
				if w.start == "" { // glibc asks 127.0.0.1
					require.Equal(t, cafeAnswer, query(t, name))
					return
				}
				s.answersWith(t, cafeAnswer, name, query) // the detector sees a leak
			}
			outside("before." + strings.ReplaceAll(w.name, " ", "-") + ".example")

			var undo func()
			log := logged(func() { undo = h.use(t) })
			for _, command := range []string{
				"resolvectl dns vpn0 10.8.0.1 fd00:8::1",
				"resolvectl domain vpn0 corp.example '~.'",
				"resolvectl default-route vpn0 yes",
				"resolvectl dnsovertls vpn0 no",
			} {
				require.Contains(t, log, command)
			}
			require.True(t, strings.HasPrefix(h.read(t), w.becomes), h.read(t))
			if strings.Contains(w.is, "(stub)") {
				require.Equal(t, before, h.tree(t))
			}
			require.Contains(t, resolvectl(t, "status", "vpn0"), "DNS Domain: corp.example ~.")
			s.answersWith(t, vpnAnswer, "inside."+strings.ReplaceAll(w.name, " ", "-")+".example", query)
			undo()
			require.Equal(t, before, h.tree(t))
			h.clean(t)
			outside("after." + strings.ReplaceAll(w.name, " ", "-") + ".example")
			require.Equal(t, was, settings(t))
		})
	}
}

// With the link's settings alone, a program that reads the list of resolvers asks the
// cafe's: that is why the file is replaced as well.
func TestResolvedListLeaks(t *testing.T) {
	s := newScene(t)
	h := privateEtc(t)
	h.symlink(t, uplink)
	startResolved(t)
	resolvectl(t, "dns", "vpn0", vpnDNS)
	resolvectl(t, "domain", "vpn0", "~.")
	require.Contains(t, h.read(t), "nameserver "+vpnDNS)
	require.Contains(t, h.read(t), "nameserver "+cafeDNS)
	before := h.read(t)
	first, _, _ := strings.Cut(before[strings.Index(before, "nameserver "):], "\n")
	if first == "nameserver "+cafeDNS { // else only when the tunnel's is slow
		lookUp(t, "leak.example")
		require.True(t, s.cafe.saw("leak.example"))
	}
}

// The same with kill -9 before each step. The link outlives the client here, as
// a TUN device does not: so everything must be taken back.
func TestResolvedKilled(t *testing.T) {
	newScene(t)
	stride := soak.Pick(t, 3, 1) // of the moments
	for first, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			h := privateEtc(t)
			w.make(t, h)
			startResolved(t)
			before, was := h.tree(t), settings(t)
			killed := true
			n := first%stride + 1 - stride
			for killed {
				n += stride
				require.Less(t, n, enough)
				var log string
				log, killed = h.run(t, fmt.Sprintf("use and undo@%d", n))
				_, err := Recover(h.config())
				require.NoError(t, err)
				require.Equal(t, before, h.tree(t), "step %d, the last of:\n%s", n, log)
				require.Equal(t, was, settings(t), "step %d, the last of:\n%s", n, log)
				h.clean(t, "step", n)
			}
			require.Greater(t, n, 12)
			h.start(t, "use", allDone)(syscall.SIGKILL)
			h.recover(t, true)
			require.Equal(t, was, settings(t))
		})
	}
}

// It may be stopped, or restarted, while the client runs.
func TestResolvedGone(t *testing.T) {
	newScene(t)
	h := privateEtc(t)
	h.symlink(t, owner.Stub)
	stop := startResolved(t)
	before := h.tree(t)
	undo := h.use(t)
	stop()
	require.Contains(t, logged(undo), "systemd-resolved keeps the tunnel's settings until the device goes")
	require.Equal(t, before, h.tree(t))
	h.clean(t)

	// Then it is a symlink like any other: what it left is still there.
	require.False(t, resolvedAnswers())
	require.Equal(t, `a symlink to "/run/systemd/resolve/stub-resolv.conf"`, h.whose(t))
	undo = h.use(t)
	require.Contains(t, h.read(t), "nameserver 10.8.0.1\n")
	undo()
	require.Equal(t, before, h.tree(t))
}

// If it refuses a command half-way, those before it are taken back.
func TestResolvedRefuses(t *testing.T) {
	newScene(t)
	h := privateEtc(t)
	h.symlink(t, uplink)
	startResolved(t)
	before, was := h.tree(t), settings(t)
	h.device = "lo" // it wants none of that
	_, err := Use(h.config())
	require.ErrorContains(t, err, "resolvectl dns lo 10.8.0.1 fd00:8::1: exit status 1: ")
	require.Equal(t, before, h.tree(t))
	require.Equal(t, was, settings(t))
	h.clean(t)
}

// Without a stub there must be a file. It says what to do about the one thing
// that cannot be undone.
func TestResolvedWithoutStub(t *testing.T) {
	s := newScene(t)
	for _, target := range []string{uplink, owner.Stub} { // both lead to the same
		t.Run(filepath.Base(target), func(t *testing.T) {
			h := privateEtc(t)
			require.NoError(t, os.Mkdir("/etc/systemd", 0o755))
			require.NoError(t, os.WriteFile("/etc/systemd/resolved.conf", []byte("[Resolve]\nDNSStubListener=no\n"), 0o644))
			h.symlink(t, target)
			startResolved(t)
			before := h.tree(t)
			s.answersWith(t, cafeAnswer, "before."+filepath.Base(target), query)
			var undo func()
			require.Contains(t, logged(func() { undo = h.use(t) }), "systemd-resolved has no stub")
			require.Contains(t, h.read(t), "# Written by the VPN client")
			s.answersWith(t, vpnAnswer, "inside."+filepath.Base(target), query)
			undo()
			require.Equal(t, before, h.tree(t))
		})
	}
}
