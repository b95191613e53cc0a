package resolvconf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// glibc is the judge of what is written: for each kind of file that does not
// lead to a service.
func TestLookUp(t *testing.T) {
	s := newScene(t)
	for _, k := range []struct {
		name string
		make func(t *testing.T, h *host)
	}{
		{"plain", func(t *testing.T, h *host) { h.write(t, plain) }},
		{"symlink", func(t *testing.T, h *host) {
			require.NoError(t, os.WriteFile("/etc/nm.conf", []byte(plain), 0o644))
			h.symlink(t, "nm.conf")
		}},
		{"mount", func(t *testing.T, h *host) { h.mount(t, plain) }},
	} {
		t.Run(k.name, func(t *testing.T) {
			h := privateEtc(t)
			k.make(t, h)
			before := h.tree(t)
			s.answersWith(t, cafeAnswer, "before."+k.name+".example") // the detector sees a leak
			undo := h.use(t)
			s.answersWith(t, vpnAnswer, "inside."+k.name+".example")
			// A short name is completed by the tunnel's search list.
			short := "short-" + k.name
			require.Equal(t, vpnAnswer, lookUp(t, short))
			require.True(t, s.vpn.saw(short+".corp.example"))
			require.False(t, s.cafe.saw(short+".cafe.example"))
			undo()
			s.answersWith(t, cafeAnswer, "after."+k.name+".example")

			h.start(t, "use", allDone)(syscall.SIGKILL)
			s.answersWith(t, vpnAnswer, "killed."+k.name+".example")
			h.recover(t, true)
			s.answersWith(t, cafeAnswer, "recovered."+k.name+".example")
			require.Equal(t, before, h.tree(t))
		})
	}
}

// glibc takes three resolvers, both families.
func TestServers(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	c := h.config()
	c.DNS = append(c.DNS, c.DNS...)
	for i := range 5 {
		c.DNS = append(c.DNS, netip.AddrFrom4([4]byte{10, 8, 1, byte(i)}))
	}
	c.Search = []string{"a.example.", "a.example", "_x.b"}
	undo, err := Use(c)
	require.NoError(t, err)
	require.Contains(t, h.read(t), "\nsearch a.example _x.b\nnameserver 10.8.0.1\nnameserver fd00:8::1\nnameserver 10.8.1.0\noptions")
	require.NoError(t, undo())
}

// A network namespace has a file of its own, which ip-netns(8) mounts there; if
// it has none, the host's is left alone.
func TestNetns(t *testing.T) {
	h := privateEtc(t)
	lab := netlab.New(t)
	h.device = "lo"
	h.write(t, plain)
	before := h.tree(t)
	for _, dir := range []string{"/etc/netns", "/etc/netns/alice", "/etc/netns/bob"} {
		require.NoError(t, os.Mkdir(dir, 0o755))
	}
	child := func(host *netlab.Host, job string) []string {
		return append(append([]string{"netns", "exec", host.Name, "env"}, h.env(job)...), os.Args[0])
	}

	if _, err := os.Stat("/proc/1/ns/net"); err == nil { // an ordinary user cannot tell, but cannot write there either
		out, err := exec.Command("ip", child(lab.Alice, "use")...).CombinedOutput()
		require.ErrorContains(t, err, "exit status 1")
		require.Contains(t, string(out), "/etc/resolv.conf is the whole host's, but this network namespace is not")
	}
	require.NoError(t, os.RemoveAll("/etc/netns"))
	require.Equal(t, before, h.tree(t))

	// Each of these has its own, and so has the host; all three at once.
	files := map[*netlab.Host]string{lab.Alice: "/etc/netns/alice/resolv.conf", lab.Bob: "/etc/netns/bob/resolv.conf"}
	for host, file := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(plain+"# "+host.Name+"\n"), 0o644))
	}
	before = h.tree(t)
	running := []func(os.Signal){h.start(t, "use", allDone)}
	for host := range files {
		running = append(running, h.start(t, "use", allDone, "ip", "netns", "exec", host.Name))
	}
	for _, file := range append([]string{h.path}, files[lab.Alice], files[lab.Bob]) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text), "# Written by"), file)
	}
	for _, stop := range running {
		stop(syscall.SIGKILL)
	}
	h.recover(t, true)
	for host := range files {
		out, err := exec.Command("ip", child(host, "recover")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "a client was killed")
	}
	require.Equal(t, before, h.tree(t))
	h.clean(t)
}

// Options that suit any resolver are kept.
func TestOptions(t *testing.T) {
	for _, c := range []struct{ file, kept string }{
		{"", ""},
		{"options\n#options edns0\n;options edns0\nsortlist 10.0.0.0\nxoptions edns0", ""},
		{"options edns0 trust-ad", "edns0"},
		{"options timeout:1 attempts:5 rotate\noptions edns0 rotate", "timeout:1 attempts:5 rotate edns0"},
		{"\toptions\tsingle-request   single-request-reopen no-tld-query no-aaaa", "single-request single-request-reopen no-tld-query no-aaaa"},
		{"options ndots:5 use-vc no-reload inet6 debug", ""},
		{"options timeout timeout: timeout:x timeout:-1 timeout:31 attempts:6 edns0:1 rotate:", ""},
		{"options timeout:1\x00 edns0\r\n", "edns0"},
	} {
		require.Equal(t, c.kept, strings.Join(keptOptions([]byte(c.file)), " "), "%q", c.file)
	}
}

// Whatever the file was, and whatever the server says: lines are what they seem.
func FuzzText(f *testing.F) {
	f.Add([]byte(plain), "corp.example", "10.8.0.1")
	f.Add([]byte("options timeout:3 edns0"), "a\nnameserver 6.6.6.6", "fe80::1%lo")
	f.Fuzz(func(t *testing.T, file []byte, search, server string) {
		c := config("/x", "/y")
		c.Search = []string{search}
		if a, err := netip.ParseAddr(server); err == nil {
			c.DNS = append(c.DNS, a)
		}
		if c.check() != nil {
			return
		}
		for i, line := range strings.Split(strings.TrimSuffix(string(c.text(file)), "\n"), "\n") {
			require.Regexp(t, `^(# [ -~]*|search [A-Za-z0-9_.-]+|nameserver [0-9a-f.:]+(%lo)?|options( [a-z0-9:-]+)+)$`, line, fmt.Sprint(i))
		}
	})
}
