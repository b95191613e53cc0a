// Package step3_test tries the two programs of this step as they are used: on
// hosts in network namespaces, with other people's tools.
package step3_test

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server") }

// limit bounds each wait; a busy machine is slow.
const limit = 30 * time.Second

const (
	inner4 = "10.8.0.1" // the server inside the tunnel
	inner6 = "fd00:8::1"
)

// server and client start the programs and wait until they are up.
func server(t *testing.T, lab *netlab.Lab, flags ...string) *netlab.Process {
	p := lab.Server.Start(t, netlab.Program("server"), flags...)
	p.WaitLog(t, "tunnel is up")
	return p
}

func client(t *testing.T, host *netlab.Host, server string, flags ...string) *netlab.Process {
	p := host.Start(t, netlab.Program("client"), append([]string{"-server", server}, flags...)...)
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

func TestAllFourCombinations(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for _, outer := range []string{"IPv4", "IPv6"} {
			t.Run(network+" over "+outer, func(t *testing.T) {
				lab := netlab.New(t)
				addr := lab.Server.V4
				if outer == "IPv6" {
					addr = lab.Server.V6
				}
				s := server(t, lab, "-transport", network)
				c := client(t, lab.Alice, net.JoinHostPort(addr.String(), "5555"), "-transport", network)
				up(t, lab.Alice)
				lab.Alice.Run(t, "ping", "-c", "3", "-i", "0.1", "-W", "5", inner4)
				lab.Alice.Run(t, "ping", "-c", "3", "-i", "0.1", "-W", "5", inner6)
				// The other direction, and packets of the largest size.
				lab.Server.Run(t, "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1300", "10.8.0.2")
				lab.Server.Run(t, "ping", "-c", "1", "-W", "5", "-s", "4000", "fd00:8::2")

				lab.Server.ServeSite(t)
				const size = 1 << 20
				got := lab.Alice.Run(t, "bash", "-c", fmt.Sprintf("curl -sS http://%s/file?bytes=%d | sha256sum", inner4, size))
				require.Equal(t, site.Hash(size), strings.Fields(got)[0])

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

// The MTU is what the path has room for: a packet of this size crosses the wire
// in one piece, and the next larger one does not fit the tunnel.
func TestMTUFillsTheWire(t *testing.T) {
	lab := netlab.New(t)
	server(t, lab)
	c := client(t, lab.Alice, lab.Server.V4.String()+":5555")
	require.Contains(t, c.Log(), "1472 = 1500 (path to 203.0.113.10) - 20 (IPv4) - 8 (UDP)")
	up(t, lab.Alice)
	wire := lab.Cafe.Capture(t, "br0", "src "+lab.Alice.V4.String())
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1444", inner4)
	_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1445", inner4)
	require.Error(t, err)
	wire.Stop()
	require.Len(t, wire.Read("greater 1514"), 1, "one full frame")
	require.Empty(t, wire.Read("ip[6:2] & 0x3fff != 0"), "no fragments")
}

// A router on the way has a smaller MTU. The outer packets are then fragmented;
// traffic must not hang.
func TestASmallerPathStillWorks(t *testing.T) {
	lab := netlab.New(t)
	lab.Internet.Run(t, "ip", "link", "set", "cafe0", "mtu", "1300")
	lab.Cafe.Run(t, "ip", "link", "set", "up0", "mtu", "1300")
	lab.Server.ServeSite(t)
	server(t, lab)
	client(t, lab.Alice, lab.Server.V4.String()+":5555")
	up(t, lab.Alice)
	got := lab.Alice.Run(t, "bash", "-c", "curl -sS --max-time 25 http://10.8.0.1/file?bytes=1000000 | sha256sum")
	require.Equal(t, site.Hash(1000000), strings.Fields(got)[0])
	lab.Alice.Run(t, "ping", "-c", "2", "-W", "5", "-s", "1400", inner4)
}

func TestEitherEndMayRestart(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			lab := netlab.New(t)
			s := server(t, lab, "-transport", network)
			c := client(t, lab.Alice, lab.Server.V4.String()+":5555", "-transport", network)
			up(t, lab.Alice)

			s.Kill()
			s.Wait(t)
			s = server(t, lab, "-transport", network)
			up(t, lab.Alice)

			c.Kill()
			c.Wait(t)
			client(t, lab.Alice, lab.Server.V4.String()+":5555", "-transport", network)
			up(t, lab.Alice)
			s.WaitLog(t, "the peer has changed")
		})
	}
}

// Either program may start first.
func TestClientMayStartFirst(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			lab := netlab.New(t)
			client(t, lab.Alice, lab.Server.V4.String()+":5555", "-transport", network)
			_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", inner4)
			require.Error(t, err)
			server(t, lab, "-transport", network)
			up(t, lab.Alice)
		})
	}
}

// Noise from a stranger is counted, and does not make the stranger the peer. One IP packet
// does: that is what is wrong with this step.
func TestStrangers(t *testing.T) {
	lab := netlab.New(t)
	s := server(t, lab)
	client(t, lab.Alice, lab.Server.V4.String()+":5555")
	up(t, lab.Alice)

	var stranger net.Conn
	var err error
	lab.Bob.Do(func() { stranger, err = net.Dial("udp", lab.Server.V4.String()+":5555") })
	require.NoError(t, err)
	defer stranger.Close()
	garbage := make([]byte, 1400)
	rand.Read(garbage)
	garbage[0] = 0x45 // looks like IPv4, has the wrong length
	send := func(p []byte) {
		_, err := stranger.Write(p)
		require.NoError(t, err)
	}
	send([]byte("x"))
	send(nil)
	send(garbage)
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", inner4)
	require.NotContains(t, s.Log(), "the peer has changed")

	send([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 8, 0, 9, 10, 8, 0, 1})
	s.WaitLog(t, "the peer has changed")
	s.Interrupt()
	require.Zero(t, s.Wait(t))
	require.Contains(t, s.Log(), "malformed 3")
}

// With TCP, a length that lies and a stream that stops are somebody else's
// problem only.
func TestStrangersOverTCP(t *testing.T) {
	lab := netlab.New(t)
	s := server(t, lab, "-transport", "tcp")
	for _, stream := range []string{"GET / HTTP/1.0\r\n\r\n", "\xff\xffhalf", "\x00", "\x00\x00\x00\x03abc"} {
		var conn net.Conn
		var err error
		lab.Bob.Do(func() { conn, err = net.Dial("tcp", lab.Server.V4.String()+":5555") })
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte(stream))
		require.NoError(t, err)
	}
	client(t, lab.Alice, lab.Server.V4.String()+":5555", "-transport", "tcp")
	up(t, lab.Alice)
	s.Interrupt()
	require.Zero(t, s.Wait(t))
	require.Contains(t, s.Log(), "malformed 2")
}

// One line says what is wrong, and nothing half-done stays.
func TestBadInput(t *testing.T) {
	lab := netlab.New(t)
	lab.Server.Run(t, "ip", "tuntap", "add", "taken0", "mode", "tun")
	server(t, lab)
	devices := func() string { return lab.Server.Run(t, "sh", "-c", "ip -o link | cut -d: -f2") }
	before := devices()
	for _, c := range []struct {
		program string
		flags   string
		code    int
		text    string
	}{
		{"client", "", 2, `server "" is not HOST:PORT`},
		{"client", "-server nowhere", 2, `server "nowhere" is not HOST:PORT`},
		{"client", "-server 203.0.113.10:5555 -transport sctp", 2, `transport "sctp" is unknown`},
		{"client", "-server 203.0.113.10:5555 -addr 10.8.0.2", 2, "is not an address with a prefix length"},
		{"client", "-server 203.0.113.10:5555 extra", 2, `unexpected argument "extra"`},
		{"client", "-nonsense", 2, "flag provided but not defined"},
		{"client", "-server 203.0.113.10:5555 -dev this-name-is-too-long", 2, "this-name-is-too-long"},
		{"client", "-server 203.0.113.10:5555 -dev vpn1 -mtu 100", 2, "1280"},
		{"server", "-listen 5555", 2, `listen address "5555" is not HOST:PORT`},
		{"server", "-dev vpn1", 1, "address already in use"},
		{"server", "-dev vpn1 -listen 192.0.2.7:5556", 1, "cannot assign requested address"},
		{"server", "-listen :5556", 1, "vpn0"},
	} {
		p := lab.Server.Start(t, netlab.Program(c.program), strings.Fields(c.flags)...)
		code := p.Wait(t)
		require.Equal(t, c.code, code, "%s %s\n%s", c.program, c.flags, p.Log())
		require.Contains(t, p.Log(), c.text, "%s %s", c.program, c.flags)
		require.Equal(t, before, devices(), "%s %s", c.program, c.flags)
	}
}

// Without root there is no TUN device, and the message says so.
func TestNotRoot(t *testing.T) {
	lab := netlab.New(t)
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	// The program's folder is only ours to read.
	out, err := lab.Alice.Try("setpriv", "--bounding-set=-all", "--inh-caps=-all", netlab.Program("client"), "-server", "203.0.113.10:5555")
	require.Error(t, err)
	require.Contains(t, out, "client: ")
	require.Regexp(t, "(?i)root", out)
}
