package step8_test

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// loses makes the internet lose, in silence, each packet of the tunnel that is longer than
// size bytes and has the server's port as port (sport or dport).
func (w *world) loses(t *testing.T, port string, size int) {
	t.Helper()
	for _, h := range []*netlab.Host{w.Alice, w.Server} {
		h.Run(t, "ip", "link", "set", "eth0", "gso_max_segs", "1") // a router sees the length of each packet
	}
	w.Internet.Run(t, "nft", fmt.Sprintf(`table inet loses_%[1]s {
	chain c {
		type filter hook forward priority 0
		udp %[1]s 5555 meta length > %[2]d counter drop
	}
	}`, port, size))
}

// At these ports, web answers by UDP.
const (
	wholeOrNot = 7001 // routers may not fragment the answer, until the kernel has heard that somebody must
	inPieces   = 7002 // routers may fragment it, if it is IPv4
)

// answers makes web answer by UDP, with as many bytes as the sender asks for.
func (w *world) answers(t *testing.T) {
	t.Helper()
	for port, discover := range map[uint16]int{wholeOrNot: unix.IP_PMTUDISC_WANT, inPieces: unix.IP_PMTUDISC_DONT} {
		for _, a := range []netip.Addr{w.Web.V4, w.Web.V6} {
			var conn *net.UDPConn
			w.Web.Do(func() {
				var err error
				conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
				require.NoError(t, err)
			})
			t.Cleanup(func() { conn.Close() })
			if a.Is4() {
				raw, err := conn.SyscallConn()
				require.NoError(t, err)
				raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover) })
				require.NoError(t, err)
			}
			go func() {
				for b := make([]byte, 100); ; {
					n, from, err := conn.ReadFromUDPAddrPort(b)
					if err != nil {
						return
					}
					size, _ := strconv.Atoi(string(b[:n]))
					conn.WriteToUDPAddrPort(make([]byte, size), from)
				}
			}()
		}
	}
}

// answered reports whether alice gets an answer of size bytes within some tries. The first
// answer is lost if a router says that it is too long.
func (w *world) answered(to netip.Addr, port uint16, size, tries int) (ok bool) {
	w.Alice.Do(func() {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, 1<<16)
		for range tries {
			fmt.Fprint(conn, size)
			conn.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := conn.Read(b); err == nil && n == size {
				ok = true
				return
			}
		}
	})
	return ok
}

// carries waits until packets of any length pass in both directions.
func (w *world) carries(t *testing.T) {
	t.Helper()
	for _, to := range []netip.Addr{w.Web.V4, w.Web.V6} {
		for _, port := range []uint16{wholeOrNot, inPieces} {
			for _, size := range []int{1200, 1330, 1360, 1400, 1460, 3000, 8000} {
				netlab.Eventually(t, limit, fmt.Sprintf("%v answers from port %d by %d bytes", to, port, size), func() bool {
					return w.answered(to, port, size, 3)
				})
			}
		}
		netlab.Eventually(t, limit, fmt.Sprintf("a long ping comes back from %v", to), func() bool {
			_, err := w.Alice.Try("ping", "-c", "3", "-i", "0.2", "-W", "2", "-s", "1390", to.String())
			return err == nil
		})
		for _, args := range [][]string{nil, {"-R"}} {
			netlab.Eventually(t, limit, fmt.Sprintf("3 MB pass, %v %v", to, args), func() bool {
				_, err := w.Alice.Try("timeout", append([]string{"10", "iperf3", "-n", "3M", "-c", to.String()}, args...)...)
				return err == nil
			})
		}
	}
}

func newWays(t *testing.T) *world {
	w := newWorld(t)
	w.Web.Start(t, "iperf3", "-s", "--forceflush").WaitLog(t, "Server listening")
	w.answers(t)
	return w
}

func ends(t *testing.T, p *netlab.Process) {
	t.Helper()
	p.Interrupt()
	require.Zero(t, p.Wait(t), p.Log())
}

// A path may lose long packets in one direction only. The client finds that out, the server
// keeps to it, too, and senders of longer packets are told. A size that is set by hand works
// in the same way, also after the server was restarted and has forgotten it.
func TestPathThatLosesOneWay(t *testing.T) {
	for name, port := range map[string]string{"from the server": "sport", "to the server": "dport"} {
		t.Run(name, func(t *testing.T) {
			w := newWays(t)
			w.add(t, "alice", "mtu", 1440)
			w.loses(t, port, 1400)
			server := w.server(t)
			before := state(t, w.Server)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			_, err := w.Alice.Try("ping", "-c", "3", "-i", "0.2", "-W", "2", "-M", "dont", "-s", "1390", w.Web.V4.String())
			require.Error(t, err, "the detector: a size too large set by hand, and long packets disappear")
			ends(t, client)

			w.set(t, "alice.toml", "mtu", 0)
			client = w.client(t)
			client.WaitLog(t, "now=1340")
			w.hasMTU(t, 1340)
			w.carries(t)
			route := func(family, to string) string { return w.Server.Run(t, "ip", family, "route", "show", to) }
			for family, to := range map[string]string{"-4": "10.8.0.2", "-6": "fd00:8::2"} {
				route := func() string { return route(family, to) }
				require.Contains(t, route(), "mtu 1340")
				w.Server.Run(t, "ip", family, "route", "del", to)
				netlab.Eventually(t, limit, "somebody removes the route to the client, and it comes back", func() bool { return strings.Contains(route(), "mtu 1340") })
			}
			ends(t, client)
			netlab.Eventually(t, limit, "the server is as before", func() bool { return state(t, w.Server) == before })

			w.set(t, "alice.toml", "mtu", 1300) // less than the path carries, and it stays
			client = w.client(t)
			netlab.Eventually(t, limit, "the server keeps to the size that was set by hand", func() bool { return strings.Contains(route("-4", "10.8.0.2"), "mtu 1300") })
			w.hasMTU(t, 1300)
			w.carries(t)
			ends(t, server)
			w.serve(t, w.Server)
			w.carries(t)
			ends(t, client)
		})
	}
}

// A server in a cloud can have an interface of 9,001 bytes, while the internet carries 1,500.
// If fragments are dropped, as by many mobile networks and NATs, everything arrives
// nevertheless.
func TestServerWithJumboFrames(t *testing.T) {
	w := newWays(t)
	w.Server.Run(t, "ip", "link", "set", "eth0", "mtu", "9001")
	w.Internet.Run(t, "ip", "link", "set", "srv0", "mtu", "9001")
	w.Server.Run(t, "ip", "link", "set", "eth0", "gso_max_segs", "1")
	w.Cafe.Run(t, "nft", `table inet nofrag {
	chain c {
		type filter hook prerouting priority -450
		iifname "up0" ip frag-off & 0x3fff != 0 counter drop
	}
	}`)
	w.add(t, "alice")
	server := w.server(t)
	server.WaitLog(t, "9001 (path to the internet)")
	client := w.client(t)
	w.hasMTU(t, 1440)
	w.carries(t)
	ends(t, client)
}
