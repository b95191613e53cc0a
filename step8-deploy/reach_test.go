package step8_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// Alice may find these services at the server, or behind it.
var (
	forAll = []string{"DNS", "DNS over TCP", "the internet", "ping IPv4", "ping IPv6"}
	ofHost = []string{"a container's port", "a forwarded port", "its public IPv4", "its public IPv6", "its tunnel's IPv4", "its tunnel's IPv6", "its LAN", "its UDP", "to all in the tunnel"}
	closed = []string{"metadata IPv4", "metadata IPv6", "loopback"}
)

// services starts them on the server's host and beside it, and returns a function that says
// which of them alice reaches.
func (w *world) services(t *testing.T) (reached func() []string) {
	t.Helper()
	script := w.path("answer")
	require.NoError(t, os.WriteFile(script, []byte(`while read -r line && [ ${#line} -gt 1 ]; do :; done; printf 'HTTP/1.0 200 OK\r\n\r\nreached'`), 0o600))
	hello := "EXEC:bash " + script
	serve := func(h *netlab.Host, port int, enter ...string) {
		t.Helper()
		command := append(enter, "socat", "-d", "-d", fmt.Sprintf("TCP6-LISTEN:%d,fork,reuseaddr,ipv6only=0", port), hello)
		h.Start(t, command[0], command[1:]...).WaitLog(t, "listening on")
	}
	serve(w.Server, 7022)
	serve(w.Internet, 80)
	w.Internet.Run(t, "bash", "-ec", "ip addr add 169.254.169.254/32 dev lo; ip addr add fd00:ec2::254/128 dev lo nodad")
	box := w.Server.Start(t, "unshare", "-n", "sleep", "1000")
	enter := []string{"nsenter", "-t", fmt.Sprint(box.Pid()), "-n"}
	netlab.Eventually(t, limit, "the container has a network of its own", func() bool {
		own, _ := os.Readlink("/proc/self/ns/net")
		its, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", box.Pid()))
		host := w.Server.Run(t, "readlink", "/proc/self/ns/net")
		return its != "" && its != own && its != strings.TrimSpace(host)
	})
	w.Server.Run(t, "bash", "-ec", fmt.Sprintf(`
		ip route add 169.254.169.254 via %v; ip -6 route add fd00:ec2::254 via 2001:db8:5::1
		ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add box0 type veth peer name eth0 netns %d; ip link set box0 master docker0; ip link set box0 up
		%s bash -ec 'ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1'
		iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 7080 -j DNAT --to-destination 172.17.0.2:80
		iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 7081 -j DNAT --to-destination %v:80
		sysctl -qw net.ipv4.conf.all.route_localnet=1`, "203.0.113.1", box.Pid(), strings.Join(enter, " "), w.Web.V4))
	serve(w.Server, 80, enter...)

	hear := func(at string) *net.UDPConn {
		var c *net.UDPConn
		var err error
		w.Server.Do(func() { c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at))) })
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	udp, loop := hear("0.0.0.0:7023"), hear("127.0.0.1:7024")
	// heard sends a datagram unchanged, several times, whatever alice's own kernel would do
	// with it, and reports whether the server's socket receives one.
	heard := func(c *net.UDPConn, to string) bool {
		p := datagram("10.8.0.2", to, uint16(c.LocalAddr().(*net.UDPAddr).Port))
		buf := make([]byte, 100)
		for c.SetReadDeadline(time.Now()) == nil { // earlier ones
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
		for range 3 {
			w.Alice.Do(func() {
				fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
				require.NoError(t, err)
				defer unix.Close(fd)
				vpn0, err := net.InterfaceByName("vpn0")
				require.NoError(t, err)
				const ip = 0x0008 // ETH_P_IP, in network order
				require.NoError(t, unix.Sendto(fd, p, 0, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: vpn0.Index}))
			})
			c.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := c.Read(buf); err == nil && string(buf[:n]) == "hello" {
				return true
			}
		}
		return false
	}
	get := func(at string) bool {
		out, _ := w.Alice.Try("curl", "-sS", "--interface", "vpn0", "--max-time", "3", "http://"+at)
		return strings.Contains(out, "reached")
	}
	ok := func(command ...string) bool { _, err := w.Alice.Try(command[0], command[1:]...); return err == nil }
	return func() (list []string) {
		for name, is := range map[string]func() bool{
			"DNS":                  func() bool { return ok("dig", "+tries=2", "+time=2", "@10.8.0.1", "web.example") },
			"DNS over TCP":         func() bool { return ok("dig", "+tcp", "+tries=2", "+time=2", "@fd00:8::1", "web.example") },
			"the internet":         func() bool { return w.whoami(w.Web.V4) == w.Server.V4.String() },
			"ping IPv4":            func() bool { return ok("ping", "-c1", "-W3", w.Server.V4.String()) },
			"ping IPv6":            func() bool { return ok("ping", "-c1", "-W3", "fd00:8::1") },
			"a container's port":   func() bool { return get(w.Server.V4.String() + ":7080") },
			"a forwarded port":     func() bool { return ok("curl", "-sSf", "--max-time", "3", "http://10.8.0.1:7081/whoami") },
			"its public IPv4":      func() bool { return get(w.Server.V4.String() + ":7022") },
			"its public IPv6":      func() bool { return get("[" + w.Server.V6.String() + "]:7022") },
			"its tunnel's IPv4":    func() bool { return get("10.8.0.1:7022") },
			"its tunnel's IPv6":    func() bool { return get("[fd00:8::1]:7022") },
			"its LAN":              func() bool { return get("172.17.0.1:7022") },
			"its UDP":              func() bool { return heard(udp, "10.8.0.1") },
			"to all in the tunnel": func() bool { return heard(udp, "172.17.255.255") },
			"metadata IPv4":        func() bool { return get("169.254.169.254") },
			"metadata IPv6":        func() bool { return get("[fd00:ec2::254]") },
			"loopback":             func() bool { return heard(loop, "127.0.0.1") },
		} {
			if is() {
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return list
	}
}

// datagram is "hello" for a port, from port 7025.
func datagram(from, to string, port uint16) []byte {
	p := make([]byte, 28, 33)
	p[0], p[3], p[8], p[9] = 0x45, 33, 64, unix.IPPROTO_UDP
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 7025)
	binary.BigEndian.PutUint16(p[22:], port)
	p[25] = 13 // no checksum (RFC 768)
	return append(p, "hello"...)
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// Clients get through the server, but not to what is only for the server itself: its services,
// at any address, the ports that it forwards, and what its cloud tells it.
func TestServerReach(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "lan", "none")
	reached := w.services(t)
	before := state(t, w.Server)
	var server *netlab.Process
	start := func() {
		t.Helper()
		if server != nil {
			w.Server.Run(t, "bash", "-ec", "iptables -D FORWARD -i docker0 -j ACCEPT; iptables -D FORWARD -o docker0 -j ACCEPT")
			server.Interrupt()
			require.Zero(t, server.Wait(t), server.Log())
			require.Equal(t, before, state(t, w.Server))
		}
		server = w.server(t)
		// These rules come first, as Docker's do when it starts.
		w.Server.Run(t, "bash", "-ec", "iptables -I FORWARD -i docker0 -j ACCEPT; iptables -I FORWARD -o docker0 -j ACCEPT")
		w.seenAs(t, w.Server.V4.String())
	}
	client := w.start(t)
	start() // as 'stepvpn init' writes it
	require.Equal(t, sorted(forAll), reached())
	require.NotContains(t, server.Log(), "reach")
	require.NotContains(t, w.stepvpn(t, "check", w.path("server.toml")), "reach")

	// The detector: without the table, everything is reachable. The table comes back if
	// somebody removes it.
	server.Signal(syscall.SIGSTOP)
	w.Server.Run(t, "nft", "delete", "table", "inet", "stepvpn_reach_vpn0")
	require.Equal(t, sorted(forAll, ofHost, closed), reached(), "the detector sees it all")
	server.Signal(syscall.SIGCONT)
	server.WaitLog(t, "what clients can reach on this host had been removed")
	require.Equal(t, sorted(forAll), reached())

	// Only the services that are opened are open. The server may connect to clients.
	w.set(t, "server.toml", "reach", []string{"tcp:7080", w.Server.V4.String() + ":7022", "udp:7023"})
	start()
	require.Equal(t, sorted(forAll, []string{"a container's port", "its public IPv4", "its UDP", "to all in the tunnel"}), reached())
	w.Alice.Start(t, "socat", "-d", "-d", "TCP6-LISTEN:7026,fork,reuseaddr,ipv6only=0", "EXEC:bash "+w.path("answer")).WaitLog(t, "listening on")
	require.Contains(t, w.Server.Run(t, "curl", "-sS", "--max-time", "10", "http://10.8.0.2:7026"), "reached")
	w.set(t, "server.toml", "reach", []string{"server"})
	start()
	require.Equal(t, sorted(forAll, ofHost), reached())

	// This file is from before the key reach existed.
	text, err := os.ReadFile(w.path("server.toml"))
	require.NoError(t, err)
	old := regexp.MustCompile(`(?m)^reach = .*$`).ReplaceAll(text, nil)
	require.NotEqual(t, text, old)
	require.NoError(t, os.WriteFile(w.path("server.toml"), old, 0o600))
	const warning = "clients reach every service of the server itself"
	require.Contains(t, w.stepvpn(t, "check", w.path("server.toml")), warning)
	start()
	require.Contains(t, server.Log(), warning)
	require.Equal(t, sorted(forAll, ofHost), reached())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
}

// A client that opens connections without end gets only its share of those that the kernel can
// follow, and another client is not affected.
func TestFlowsAreShared(t *testing.T) {
	const share = 256 // of the smallest possible total
	w := newWorld(t)
	w.add(t, "alice")
	w.add(t, "bob")
	server := w.server(t, "max_clients", 10_000, "subnets", []string{"10.8.0.1/16", "fd00:8::1/64"})
	w.client(t)
	w.Bob.Start(t, netlab.Program("stepvpn"), "client", w.path("bob.toml")).WaitLog(t, "tunnel is up")
	w.seenAs(t, w.Server.V4.String())
	// flood sends packets from this many ports, and returns how many connections of alice's
	// the server's kernel follows afterwards.
	flood := func(first, n int) int {
		came := func() (n int) {
			_, err := fmt.Sscan(w.Server.Run(t, "bash", "-c", "ip -s link show vpn0 | awk '/RX:/ { getline; print $2 }'"), &n)
			require.NoError(t, err)
			return n
		}
		before := came()
		netlab.Eventually(t, limit, "most of them have come", func() bool { // because queues may overflow
			w.Alice.Do(func() {
				for i := range n {
					c, err := net.DialUDP("udp", &net.UDPAddr{Port: first + i}, &net.UDPAddr{IP: w.Web.V4.AsSlice(), Port: 9})
					if errors.Is(err, unix.EADDRINUSE) { // the client itself counts it
						continue
					}
					require.NoError(t, err)
					c.Write([]byte("x"))
					c.Close()
					if i%20 == 0 {
						time.Sleep(time.Millisecond) // no faster than the server reads them
					}
				}
			})
			return came()-before > n*3/4
		})
		return strings.Count(w.Server.Run(t, "conntrack", "-L", "-p", "udp"), "dport=9 ")
	}
	// The first packets may come while the keeper is still making its tables, and a new table
	// counts from 0.
	netlab.Eventually(t, limit, "alice has her share, and no more", func() bool {
		w.Server.Run(t, "conntrack", "-F")
		have := flood(10_000, 3000)
		return share/2 < have && have <= share
	})
	out, err := w.Bob.Try("curl", "-sS", "--max-time", "20", "http://"+w.Web.V4.String()+"/whoami")
	require.NoError(t, err, out)
	require.Contains(t, out, w.Server.V4.String())

	// The detector: without the table, she gets all connections.
	server.Signal(syscall.SIGSTOP)
	w.Server.Run(t, "nft", "delete", "table", "inet", "stepvpn_reach_vpn0")
	require.Greater(t, flood(20_000, 3000), 4*share)
	server.Signal(syscall.SIGCONT)
}
