// Package step4_test tries the programs of this step as they are used: on hosts
// in network namespaces, with other people's tools.
package step4_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) {
	netlab.Main(m, "./cmd/client", "./cmd/server", "./cmd/keygen", "./cmd/mallory")
}

const (
	limit  = 60 * time.Second // bounds each wait; a busy machine is slow
	inner4 = "10.8.0.1"       // the server inside the tunnel
)

// newKey makes a key file with keygen.
func newKey(t *testing.T, lab *netlab.Lab) string {
	name := filepath.Join(t.TempDir(), "vpn.key")
	lab.Server.Run(t, netlab.Program("keygen"), "-out", name)
	return name
}

func server(t *testing.T, lab *netlab.Lab, key string, flags ...string) *netlab.Process {
	p := lab.Server.Start(t, netlab.Program("server"), append([]string{"-v", "-key", key}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

func client(t *testing.T, host *netlab.Host, key, server string, flags ...string) *netlab.Process {
	p := host.Start(t, netlab.Program("client"), append([]string{"-v", "-key", key, "-server", server}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

// up waits until the tunnel carries packets.
func up(t *testing.T, host *netlab.Host) {
	t.Helper()
	netlab.Eventually(t, limit, "the tunnel carries packets", func() bool {
		_, err := host.Try("ping", "-c", "1", "-W", "1", inner4)
		return err == nil
	})
}

// download fetches a file through the tunnel and compares its hash.
func download(t *testing.T, host *netlab.Host, size int64) {
	t.Helper()
	got := host.Run(t, "bash", "-c", fmt.Sprintf("curl -sS --max-time 55 http://%s/file?bytes=%d | sha256sum", inner4, size))
	require.Equal(t, site.Hash(size), strings.Fields(got)[0])
}

// dropped returns the counter of a reason in a program's last words.
func dropped(p *netlab.Process, reason string) int {
	m := regexp.MustCompile(`dropped:.*` + reason + ` (\d+)`).FindStringSubmatch(p.Log())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func TestEncryptedOverUDPAndTCP(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", network, v6), func(t *testing.T) {
				lab := netlab.New(t)
				key := newKey(t, lab)
				addr := lab.Server.V4
				if v6 {
					addr = lab.Server.V6
				}
				s := server(t, lab, key, "-transport", network)
				wire := lab.Cafe.Capture(t, "br0", "")
				c := client(t, lab.Alice, key, net.JoinHostPort(addr.String(), "5555"), "-transport", network)
				up(t, lab.Alice)
				lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", "fd00:8::1")
				lab.Server.Run(t, "ping", "-c", "1", "-W", "5", "10.8.0.2")
				lab.Server.ServeSite(t)
				inside := lab.Alice.Capture(t, "vpn0", "")
				lab.Alice.Run(t, "curl", "-sS", "-d", "password=correct-horse", "http://"+inner4+"/login")
				download(t, lab.Alice, 1<<20)
				wire.Stop()
				inside.Stop()
				for capture, want := range map[*netlab.Capture]bool{inside: true, wire: false} {
					pcap, err := os.ReadFile(capture.File)
					require.NoError(t, err)
					require.Greater(t, len(pcap), 1<<20)
					require.Equal(t, want, strings.Contains(string(pcap), "correct-horse"), capture.File)
				}
				for _, p := range []*netlab.Process{c, s} {
					p.Interrupt()
					require.Zero(t, p.Wait(t))
					// Packets that were written before TCP had connected are lost.
					require.Regexp(t, "dropped: (none|no-peer [0-9]+)\n", p.Log())
				}
			})
		}
	}
}

func TestWrongKeyEndsWithTheLikelyCauses(t *testing.T) {
	lab := netlab.New(t)
	s := server(t, lab, newKey(t, lab))
	answers := lab.Server.Capture(t, "eth0", "udp and src "+lab.Server.V4.String())
	c := lab.Alice.Start(t, netlab.Program("client"), "-key", newKey(t, lab), "-server", lab.Server.V4.String()+":5555", "-tries", "2")
	require.Equal(t, 1, c.Wait(t))
	require.Contains(t, c.Log(), "no answer from the server after 2 tries: it has another key")
	require.Empty(t, answers.Stop(), "a message that does not authenticate gets no answer")
	s.Interrupt()
	s.Wait(t)
	require.Equal(t, 2, dropped(s, "bad-tag"))
	require.NotContains(t, lab.Alice.Run(t, "ip", "-o", "link"), "vpn0")
}

func TestNobodyThere(t *testing.T) {
	lab := netlab.New(t)
	for _, network := range []string{"udp", "tcp"} {
		c := lab.Alice.Start(t, netlab.Program("client"), "-key", newKey(t, lab), "-server", lab.Server.V4.String()+":5555", "-tries", "2", "-transport", network)
		require.Equal(t, 1, c.Wait(t))
		require.Contains(t, c.Log(), "no answer from the server")
	}
}

// Ctrl-C while the client still asks ends it at once, and without an error.
func TestInterruptWhileConnecting(t *testing.T) {
	lab := netlab.New(t)
	c := lab.Alice.Start(t, netlab.Program("client"), "-v", "-key", newKey(t, lab), "-server", lab.Server.V4.String()+":5555", "-tries", "100")
	asks := lab.Server.Capture(t, "eth0", "udp port 5555")
	netlab.Eventually(t, limit, "the client asks", func() bool { return len(asks.Read()) > 0 })
	c.Interrupt()
	c.Wait(t)
	require.NotContains(t, c.Log(), "no answer")
}

func TestEitherEndMayRestart(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			lab := netlab.New(t)
			key := newKey(t, lab)
			s := server(t, lab, key, "-transport", network)
			c := client(t, lab.Alice, key, lab.Server.V4.String()+":5555", "-transport", network)
			up(t, lab.Alice)
			s.Kill()
			s.Wait(t)
			s = server(t, lab, key, "-transport", network)
			up(t, lab.Alice)

			s.Interrupt() // says goodbye
			s.Wait(t)
			server(t, lab, key, "-transport", network)
			up(t, lab.Alice)

			c.Kill()
			c.Wait(t)
			client(t, lab.Alice, key, lab.Server.V4.String()+":5555", "-transport", network)
			up(t, lab.Alice)
		})
	}
}

// The client's address changes, as on the way from one network to another.
func TestRoaming(t *testing.T) {
	lab := netlab.New(t)
	key := newKey(t, lab)
	lab.Server.ServeSite(t)
	s := server(t, lab, key)
	client(t, lab.Alice, key, lab.Server.V4.String()+":5555")
	up(t, lab.Alice)
	// The cafe's NAT gives alice another address and port from now on.
	lab.Cafe.Run(t, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "up0", "-p", "udp", "-j", "SNAT", "--to", "192.0.2.2:7777")
	lab.Cafe.Run(t, "bash", "-c", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout; echo 1 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream")
	netlab.Eventually(t, limit, "the server follows", func() bool {
		lab.Alice.Try("ping", "-c", "1", "-W", "1", inner4)
		return strings.Contains(s.Log(), "192.0.2.2:7777")
	})
	download(t, lab.Alice, 1<<20)
}

// A stranger's packets, and even alice's own sent again from elsewhere, change
// nothing.
func TestStrangersChangeNothing(t *testing.T) {
	lab := netlab.New(t)
	key := newKey(t, lab)
	s := server(t, lab, key)
	client(t, lab.Alice, key, lab.Server.V4.String()+":5555")
	up(t, lab.Alice)
	var bob net.Conn
	var err error
	lab.Bob.Do(func() { bob, err = net.Dial("udp", lab.Server.V4.String()+":5555") })
	require.NoError(t, err)
	defer bob.Close()
	answers := lab.Bob.Capture(t, "eth0", "udp and src "+lab.Server.V4.String())
	messages := [][]byte{{}, {1}, []byte("hello"), make([]byte, 1400)}
	for kind := range byte(5) {
		for _, size := range []int{4, 16, 32, 56, 60, 100, 1400} {
			m := make([]byte, size)
			m[0] = kind
			messages = append(messages, m)
		}
	}
	for _, m := range messages {
		_, err := bob.Write(m)
		require.NoError(t, err)
	}
	for range 3 {
		lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", inner4)
	}
	require.Empty(t, answers.Stop())
	s.Interrupt()
	s.Wait(t)
	require.NotContains(t, s.Log(), lab.Bob.V4.String())
	total := 0
	for _, m := range regexp.MustCompile(`[a-z]-[a-z]+ (\d+)`).FindAllStringSubmatch(s.Log()[strings.Index(s.Log(), "dropped:"):], -1) {
		n, _ := strconv.Atoi(m[1])
		total += n
	}
	require.Equal(t, len(messages), total, "each is counted once: %s", s.Log())
}

// Mallory is on the path, and tampers with both directions.
func TestMalloryOnThePath(t *testing.T) {
	lab := netlab.New(t)
	key := newKey(t, lab)
	lab.Server.ServeSite(t)
	lab.Cafe.Run(t, "iptables", "-t", "nat", "-A", "PREROUTING", "-i", "br0", "-p", "udp", "--dport", "5555", "-j", "REDIRECT", "--to-ports", "6666")
	m := lab.Cafe.Start(t, netlab.Program("mallory"), "-server", lab.Server.V4.String()+":5555", "-flip", "10", "-replay", "10")
	s := server(t, lab, key)
	c := client(t, lab.Alice, key, lab.Server.V4.String()+":5555", "-tries", "20")
	up(t, lab.Alice)
	download(t, lab.Alice, 1<<20)
	for _, p := range []*netlab.Process{c, s, m} {
		p.Interrupt()
		p.Wait(t)
	}
	require.Regexp(t, `flipped a bit in [1-9]\d*, replayed [1-9]`, m.Log())
	require.Positive(t, dropped(c, "bad-tag"))
	require.Positive(t, dropped(c, "replayed"))
}

func TestBadInput(t *testing.T) {
	lab := netlab.New(t)
	key := newKey(t, lab)
	open := filepath.Join(t.TempDir(), "open.key")
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(open, text, 0o600))
	require.NoError(t, os.Chmod(open, 0o644))
	short := filepath.Join(t.TempDir(), "short.key")
	require.NoError(t, os.WriteFile(short, text[:20], 0o600))
	for _, c := range []struct {
		program string
		flags   string
		code    int
		text    string
	}{
		{"client", "-server 203.0.113.10:5555 -key /nowhere", 1, "there is no key file /nowhere"},
		{"client", "-server 203.0.113.10:5555 -key " + open, 1, "may be read or changed by users other than its owner"},
		{"server", "-key " + open, 1, "may be read or changed by users other than its owner"},
		{"server", "-key " + short, 1, "a key has 32"},
		{"keygen", "-out " + key, 1, "exists already"},
		{"client", "-key " + key, 2, `server "" is not HOST:PORT`},
		{"mallory", "-flip -1", 2, "at least 0"},
	} {
		p := lab.Alice.Start(t, netlab.Program(c.program), strings.Fields(c.flags)...)
		require.Equal(t, c.code, p.Wait(t), "%s %s\n%s", c.program, c.flags, p.Log())
		require.Contains(t, p.Log(), c.text)
	}
}
