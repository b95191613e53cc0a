package guard

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/route"
)

const limit = 20 * time.Second

// serveOn has the server answer on port 53, over UDP and TCP, IPv4 and IPv6: what
// comes goes back.
func serveOn(t *testing.T, h *netlab.Host) {
	t.Helper()
	for _, what := range []string{"UDP4-RECVFROM:53,fork", "UDP6-RECVFROM:53,fork,ipv6only", "TCP4-LISTEN:53,fork", "TCP6-LISTEN:53,fork,ipv6only"} {
		h.Start(t, "socat", what, "PIPE")
	}
	netlab.Eventually(t, limit, "the server listens", func() bool {
		out, err := h.Try("ss", "-Hltun", "sport = 53")
		return err == nil && strings.Count(out, "\n") == 4
	})
}

// talk connects to the server, and has a word come back.
func talk(h *netlab.Host, network string, server netip.Addr, control func(network, address string, c syscall.RawConn) error, patience time.Duration) (conn net.Conn, err error) {
	h.Do(func() {
		d := net.Dialer{Control: control, Timeout: patience}
		conn, err = d.Dial(network, netip.AddrPortFrom(server, port).String())
	})
	if err != nil {
		return nil, err
	}
	if err = say(conn, patience); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func say(conn net.Conn, patience time.Duration) (err error) {
	end := time.Now().Add(patience)
	for range 3 { // a datagram may get lost
		if _, err = conn.Write([]byte("hello")); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(patience / 3))
		if _, err = io.ReadFull(conn, make([]byte, 5)); err == nil || time.Now().After(end) {
			return err
		}
	}
	return err
}

// strict sets rp_filter.
func strict(t *testing.T, h *netlab.Host, setting string) {
	for _, conf := range []string{"all", "default", "eth0"} {
		h.Write(t, "ipv4/conf/"+conf+"/rp_filter", setting)
	}
}

// A server on port 53 answers, however strictly the host checks where answers come
// from.
func TestServerOnPort53(t *testing.T) {
	lab := netlab.New(t)
	serveOn(t, lab.Server)
	before := rules(t, lab.Alice)
	for _, setting := range []string{"0", "1", "2"} {
		strict(t, lab.Alice, setting)
		down := tunnelOn(t, lab.Alice, addrs)
		undo := block(t, lab.Alice, resolvers...)
		while := rules(t, lab.Alice)
		for _, network := range []string{"udp", "tcp"} {
			for _, server := range []netip.Addr{lab.Server.V4, lab.Server.V6} {
				t.Run(fmt.Sprintf("%s rp_filter=%s %v", network, setting, server), func(t *testing.T) {
					if server.Is4() && setting != "0" {
						_, err := talk(lab.Alice, network, server, route.Mark, time.Second)
						require.ErrorContains(t, err, "timeout", "the mark alone is not enough")
					}
					var own Socket
					conn, err := talk(lab.Alice, network, server, own.Control, limit)
					require.NoError(t, err)
					defer conn.Close()
					require.Equal(t, server.Is4(), while != rules(t, lab.Alice))

					require.NoError(t, say(conn, limit))

					// Another socket in its place.
					second, err := talk(lab.Alice, network, server, own.Control, limit)
					require.NoError(t, err)
					defer second.Close()
					if server.Is4() {
						require.Equal(t, 1, strings.Count(rules(t, lab.Alice), "22499:"))
					}
					lab.Alice.Do(func() {
						require.NoError(t, own.Close())
						require.NoError(t, own.Close())
					})
					require.Equal(t, while, rules(t, lab.Alice))
				})
			}
		}
		undo()
		down()
		require.Equal(t, before, rules(t, lab.Alice))
	}
}

// The socket is there before the tunnel is, and stays when the tunnel is made anew.
func TestSocketBeforeTheTunnel(t *testing.T) {
	lab := netlab.New(t)
	serveOn(t, lab.Server)
	strict(t, lab.Alice, "1")
	var own Socket
	conn, err := talk(lab.Alice, "udp", lab.Server.V4, own.Control, limit)
	require.NoError(t, err)
	defer conn.Close()
	for range 2 {
		down := tunnelOn(t, lab.Alice, addrs)
		undo := block(t, lab.Alice, resolvers...)
		require.NoError(t, say(conn, limit))
		undo()
		down()
	}
	lab.Alice.Do(func() { require.NoError(t, own.Close()) })
}

// A host that moves to another network connects its socket anew:
// the port stays, and the rule fits.
func TestSocketConnectedAnew(t *testing.T) {
	lab := netlab.New(t)
	serveOn(t, lab.Server)
	strict(t, lab.Alice, "1")
	tunnelOn(t, lab.Alice, addrs)
	block(t, lab.Alice, resolvers...)
	var own Socket
	conn, err := talk(lab.Alice, "udp", lab.Server.V4, own.Control, limit)
	require.NoError(t, err)
	defer conn.Close()
	lab.Alice.Run(t, "ip", "addr", "del", "198.51.100.10/24", "dev", "eth0")
	lab.Alice.Run(t, "ip", "addr", "add", "198.51.100.77/24", "dev", "eth0")
	lab.Alice.Run(t, "ip", "route", "replace", "default", "via", "198.51.100.1")
	raw, err := conn.(*net.UDPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		var nowhere unix.RawSockaddrInet4 // family 0, AF_UNSPEC
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nowhere)), unix.SizeofSockaddrInet4)
		require.Zero(t, errno)
		require.NoError(t, unix.Connect(int(fd), &unix.SockaddrInet4{Addr: lab.Server.V4.As4(), Port: port}))
		local, err := unix.Getsockname(int(fd))
		require.NoError(t, err)
		require.Equal(t, [4]byte{198, 51, 100, 77}, local.(*unix.SockaddrInet4).Addr)
	}))
	require.NoError(t, say(conn, limit))
}

// Nobody but the socket itself gets out to that port: not root, not by the same port of
// another address of this host, not tied to the interface.
func TestNobodyElseAsksTheServer(t *testing.T) {
	lab := netlab.New(t)
	serveOn(t, lab.Server)
	// A tied socket takes the server to be a neighbour: asked for by ARP.
	lab.Alice.Run(t, "ip", "neigh", "replace", lab.Server.V4.String(), "lladdr", "02:00:00:00:00:01", "dev", "eth0")
	loose := []string{"to", lab.Server.V4.String(), "dport", "53", "lookup", "main"}
	for _, network := range []string{"udp", "tcp"} {
		for _, setting := range []string{"0", "1", "2"} {
			t.Run(network+" rp_filter="+setting, func(t *testing.T) {
				strict(t, lab.Alice, setting)
				down := tunnelOn(t, lab.Alice, addrs)
				defer down()
				undo := block(t, lab.Alice, resolvers...)
				defer undo()
				var own Socket
				conn, err := talk(lab.Alice, network, lab.Server.V4, own.Control, limit)
				require.NoError(t, err)
				defer conn.Close()
				_, from, _ := net.SplitHostPort(conn.LocalAddr().String())

				seen := func(ask func()) int {
					capture := lab.Cafe.Capture(t, "br0", fmt.Sprintf("ether src %s and dst host %v and dst port %d and not (src host %v and src port %s)",
						mac(t, lab.Alice), lab.Server.V4, port, lab.Alice.V4, from))
					ask()
					return len(capture.Stop())
				}
				dig := func(args ...string) {
					args = append(args, "+tries=1", "+time=1", "+"+map[string]string{"udp": "notcp", "tcp": "tcp"}[network], "@"+lab.Server.V4.String(), "secret.example")
					lab.Alice.Try("setpriv", args...)
				}
				user, root := []string{"--reuid=65534", "--clear-groups", "dig"}, []string{"dig"}
				anyPort := func() { dig(user...); dig(root...) }
				samePort := func() { dig(append(user, "-b", "10.8.0.2#"+from)...) }
				tied := func() {
					for _, k := range ties[:2] { // to a device
						k.to = lab.Server.V4.String()
						k.send(t, lab)
					}
				}

				require.Zero(t, seen(func() { anyPort(); samePort(); tied() }))
				require.NoError(t, say(conn, limit))

				// The rules alone; and the detector, with a rule that names less.
				lab.Alice.Run(t, "nft", "delete table "+string(Table))
				require.Zero(t, seen(func() { anyPort(); samePort() }))
				require.NotZero(t, seen(tied), "that hole of the rules takes the table")
				lab.Alice.Run(t, "ip", append([]string{"rule", "add", "priority", "22498", "ipproto", network, "sport", from}, loose...)...)
				require.NotZero(t, seen(samePort))
				require.Zero(t, seen(anyPort))
				lab.Alice.Run(t, "ip", append([]string{"rule", "add", "priority", "22497", "ipproto", network}, loose...)...)
				require.NotZero(t, seen(anyPort))
				lab.Alice.Run(t, "ip", "rule", "del", "priority", "22497")
				lab.Alice.Run(t, "ip", "rule", "del", "priority", "22498")

				// The client is killed: its port is free, and the rule is left.
				conn.Close()
				require.Zero(t, seen(func() { dig(append(user, "-b", lab.Alice.V4.String()+"#"+from)...) }))
				down()
				lab.Alice.Do(func() { require.NoError(t, Recover()) })
				require.NotContains(t, rules(t, lab.Alice), "22499:")
			})
		}
	}
}

func mac(t *testing.T, h *netlab.Host) string {
	return strings.Fields(h.Run(t, "ip", "-br", "link", "show", "eth0"))[2]
}
