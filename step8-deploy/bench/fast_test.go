// Package bench tests and measures the fast ends in real kernels: in network namespaces,
// compared with the simple ends, with other people's tools.
package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step8-deploy/fast"
)

func TestMain(m *testing.M) { netlab.Main(m, "./peer") }

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// Addresses in the tunnel.
const (
	server4, server6 = "10.8.0.1", "fd00:8::1"
	alice4, alice6   = "10.8.0.2", "fd00:8::2"
)

// A tunnel joins alice and the server.
type tunnel struct {
	lab            *netlab.Lab
	client, server *netlab.Process
}

// connect starts a tunnel. The flags set the options of each end.
func connect(t *testing.T, lab *netlab.Lab, clientFlags, serverFlags []string) tunnel {
	t.Helper()
	return connectTo(t, lab, lab.Server.V4, clientFlags, serverFlags)
}

// connectTo is like connect, but for another address of the server.
func connectTo(t *testing.T, lab *netlab.Lab, addr netip.Addr, clientFlags, serverFlags []string) tunnel {
	t.Helper()
	server := lab.Server.Start(t, netlab.Program("peer"),
		append([]string{"-listen", ":5555", "-addr", server4 + "/24," + server6 + "/64"}, serverFlags...)...)
	server.WaitLog(t, "tunnel is up")
	client := lab.Alice.Start(t, netlab.Program("peer"),
		append([]string{"-server", netip.AddrPortFrom(addr, 5555).String(), "-addr", alice4 + "/24," + alice6 + "/64"}, clientFlags...)...)
	client.WaitLog(t, "tunnel is up")
	netlab.Eventually(t, limit, "the tunnel carries packets", func() bool {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", server4)
		return err == nil
	})
	return tunnel{lab, client, server}
}

// stop ends the tunnel, and fails the test if a packet was dropped without a good reason, or
// if anything unusual was logged.
func (u tunnel) stop(t *testing.T) {
	t.Helper()
	for _, p := range []*netlab.Process{u.client, u.server} {
		p.Interrupt()
		require.Zero(t, p.Wait(t))
		require.NotContains(t, p.Log(), "WARN")
		for _, reason := range []string{"malformed", "too-big", "bad-tag", "replayed", "unreachable", "bad-message"} {
			require.NotContains(t, p.Log(), reason)
		}
	}
}

// checksumErrors returns how many packets with a wrong checksum a host has received.
func checksumErrors(t *testing.T, h *netlab.Host) (n int) {
	t.Helper()
	out := h.Run(t, "nstat", "-asz")
	lines := regexp.MustCompile(`(?m)^(\w*(?:CsumErrors|InHdrErrors|InErrs)) +(\d+)`).FindAllStringSubmatch(out, -1)
	require.Greater(t, len(lines), 5, out)
	for _, l := range lines {
		count, err := strconv.Atoi(l[2])
		require.NoError(t, err)
		n += count
	}
	return n
}

// download fetches a file and compares its hash.
func download(t *testing.T, from *netlab.Host, host string, size int64) {
	t.Helper()
	got := from.Run(t, "bash", "-c", fmt.Sprintf("curl -gsS --max-time 55 http://%s/file?bytes=%d | sha256sum", host, size))
	require.Equal(t, site.Hash(size), strings.Fields(got)[0])
}

// echo sends datagrams of some size, several with each call, and waits until each has come
// back unchanged.
func echo(t *testing.T, lab *netlab.Lab, addr string, size int) {
	t.Helper()
	var there, here *net.UDPConn
	var err error
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), 7)
	lab.Server.Do(func() { there, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to)) })
	require.NoError(t, err)
	defer there.Close()
	lab.Alice.Do(func() { here, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)) })
	require.NoError(t, err)
	// The same code as an application's sockets, which hand over many datagrams at once.
	answering, err := fast.NewUDP(there, fast.UDPOptions{Drops: new(link.Drops)})
	require.NoError(t, err)
	asking, err := fast.NewUDP(here, fast.UDPOptions{Drops: new(link.Drops)})
	require.NoError(t, err)
	go func() {
		b := link.NewBurst()
		for answering.ReadBurst(b) == nil {
			answering.WriteBurst(b)
		}
	}()

	r := rand.New(rand.NewPCG(uint64(size), 1))
	missing := make(map[string]bool)
	b := link.NewBurst()
	for range 40 {
		p := b.Alloc(size)
		if p == nil {
			break
		}
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		missing[string(p)] = true
	}
	sent := bytes.Clone(b.At(0))
	require.True(t, missing[string(sent)])
	defer asking.Close()
	answers := make(chan string, 1000)
	go func() {
		b := link.NewBurst()
		for asking.ReadBurst(b) == nil {
			for i := range b.Len() {
				select {
				case answers <- string(b.At(i)):
				default:
				}
			}
		}
	}()
	for deadline := time.Now().Add(limit); len(missing) > 0; {
		require.True(t, time.Now().Before(deadline), "%d datagrams are missing", len(missing))
		require.NoError(t, asking.WriteBurst(b)) // some may get lost, so all are sent again
		for wait := time.After(time.Second); len(missing) > 0 && wait != nil; {
			select {
			case p := <-answers:
				require.Len(t, p, size)
				delete(missing, p)
			case <-wait:
				wait = nil
			}
		}
	}
}

// Everything arrives as it was sent, whichever ends are used.
func TestTraffic(t *testing.T) {
	ends := map[string][]string{
		"fast":   nil,
		"simple": {"-simple"},
		"no TSO": {"-no-tso", "-no-gro"},
		"no GSO": {"-no-tun-gro", "-no-gso"},
	}
	pairs := []struct{ client, server string }{
		{"fast", "fast"}, {"fast", "simple"}, {"no GSO", "no TSO"}, {"simple", "fast"}, {"no TSO", "fast"}, {"fast", "no GSO"},
	}
	for _, c := range pairs[:soak.Pick(t, 3, len(pairs))] {
		t.Run(c.client+" to "+c.server, func(t *testing.T) {
			lab := netlab.New(t)
			u := connect(t, lab, ends[c.client], ends[c.server])
			lab.Server.ServeSite(t)
			lab.Alice.ServeSite(t)
			for _, size := range []string{"0", "1", "1391", "1392", "5000", "60000"} {
				lab.Alice.Run(t, "ping", "-c", "1", "-W", "20", "-s", size, server4)
				lab.Server.Run(t, "ping", "-c", "1", "-W", "20", "-s", size, alice6)
			}
			download(t, lab.Alice, server4, 30<<20)
			download(t, lab.Alice, "["+server6+"]", 10<<20)
			download(t, lab.Server, alice4, 10<<20)
			download(t, lab.Server, "["+alice6+"]", 10<<20)
			for _, size := range []int{1, 100, 1372} {
				echo(t, lab, server4, size)
				echo(t, lab, server6, min(size, 1352))
			}
			echo(t, lab, server4, 5000) // in fragments
			u.stop(t)
			require.Zero(t, checksumErrors(t, lab.Alice))
			require.Zero(t, checksumErrors(t, lab.Server))
		})
	}
}

// The tunnel itself goes over IPv6, and to an address of the server that is not the one from
// which its kernel would answer.
func TestOtherAddressesOfTheServer(t *testing.T) {
	lab := netlab.New(t)
	lab.Server.ServeSite(t)
	second := netip.MustParseAddr("203.0.113.11")
	lab.Server.Run(t, "ip", "address", "add", second.String()+"/28", "dev", "eth0")
	for _, addr := range []netip.Addr{lab.Server.V6, second} {
		u := connectTo(t, lab, addr, nil, nil)
		wire := lab.Server.Capture(t, "eth0", "udp src port 5555")
		download(t, lab.Alice, server4, 5<<20)
		lines := wire.Stop()
		require.NotEmpty(t, lines)
		for _, line := range lines {
			require.Contains(t, line, addr.String()+".5555 > ")
		}
		u.stop(t)
	}
}

// The detector of wrong checksums detects one.
func TestChecksumErrorsAreSeen(t *testing.T) {
	lab := netlab.New(t)
	require.Zero(t, checksumErrors(t, lab.Server))
	netlab.Eventually(t, limit, "the server counts it", func() bool {
		lab.Alice.Run(t, "python3", "-c", fmt.Sprintf(`
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
s.sendto(struct.pack("!HHHH", 1, 9, 8, 1234), ("%v", 0))`, lab.Server.V4))
		return checksumErrors(t, lab.Server) > 0
	})
}
