package transport

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// A visitor is a TCP connection to a server.
type visitor struct {
	net.Conn
	addr netip.AddrPort
}

// visit connects from an address of this host, and sends something that is a packet,
// and no more than that. It returns when the server has taken it in.
func visit(t *testing.T, from string, server netip.AddrPort, in inbox) visitor {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: limit, Control: reuseAddr}
	c, err := d.Dial("tcp", server.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	v := visitor{c, localAddr(c.LocalAddr())}
	v.says(t, in)
	return v
}

func (v visitor) says(t *testing.T, in inbox) {
	t.Helper()
	_, err := v.Write([]byte{0, 1, 'x'})
	require.NoError(t, err)
	require.Equal(t, v.addr, in.next(t).from)
}

// closed waits until the server has closed the connection.
func (v visitor) closed(t *testing.T) {
	t.Helper()
	v.SetReadDeadline(time.Now().Add(limit))
	_, err := v.Read(make([]byte, 1))
	require.Error(t, err)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "it is still there")
}

// open says whether the server has not closed the connection yet.
func (v visitor) open() bool {
	v.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := v.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func keeper(t *testing.T) (k link.PeerKeeper, addr netip.AddrPort, in inbox) {
	t.Helper()
	server, addr, _ := listen(t, TCP, "0.0.0.0:0")
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
	return server.(link.PeerKeeper), addr, newInbox(t, server)
}

// Strangers do not push out a peer that is in, whatever they send and however many come.
func TestStrangersDoNotPushOutWhoIsIn(t *testing.T) {
	k, addr, in := keeper(t)
	client := visit(t, "127.0.0.1", addr, in)
	k.PeerMoved(netip.AddrPort{}, client.addr)
	var first []visitor
	for range 3 * DefaultMaxConns / 8 {
		for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"} {
			first = append(first, visit(t, from, addr, in))
		}
	}
	first[0].closed(t) // they had to go themselves
	client.says(t, in)
	require.True(t, client.open())

	// The client has connected anew, from elsewhere. The old connection is a stranger's.
	again := visit(t, "127.0.0.9", addr, in)
	k.PeerMoved(client.addr, again.addr)
	for range DefaultMaxConns {
		visit(t, "127.0.0.1", addr, in)
	}
	client.closed(t)
	again.says(t, in)

	// The client has gone.
	k.PeerMoved(again.addr, netip.AddrPort{})
	for range DefaultMaxConns {
		visit(t, "127.0.0.9", addr, in)
	}
	again.closed(t)
}

// One host can't have the places of all strangers: it gets half, and when another one
// comes while there are no more, that one takes a place of the host that has most.
func TestOneHostDoesNotKeepOthersOut(t *testing.T) {
	_, addr, in := keeper(t)
	newcomer := visit(t, "127.0.0.2", addr, in)
	var host []visitor
	for range DefaultMaxConns {
		host = append(host, visit(t, "127.0.0.1", addr, in))
	}
	left := 0
	for i, v := range host {
		if i < DefaultMaxConns/2 {
			v.closed(t) // the oldest
		} else if v.open() {
			left++
		}
	}
	require.Equal(t, DefaultMaxConns/2, left)
	require.True(t, newcomer.open())

	for range DefaultMaxConns / 2 {
		visit(t, "127.0.0.3", addr, in)
	}
	for range DefaultMaxConns {
		visit(t, "127.0.0.1", addr, in)
	}
	newcomer.says(t, in)
	require.True(t, newcomer.open())
}

// Nobody is pushed out for a client that comes back from the same address and port, as
// one behind a NAT may: it is known already.
func TestWhoIsInMayConnectAnewFromTheSamePort(t *testing.T) {
	k, addr, in := keeper(t)
	client := visit(t, "127.0.0.1", addr, in)
	k.PeerMoved(netip.AddrPort{}, client.addr)
	require.NoError(t, client.Conn.(*net.TCPConn).SetLinger(0)) // frees the port at once
	client.Close()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(client.addr)}
	c, err := d.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	again := visitor{c, client.addr}
	again.says(t, in)
	for range 2 * DefaultMaxConns {
		visit(t, "127.0.0.1", addr, in)
	}
	again.says(t, in)
	require.True(t, again.open())
}

// The books are right, whatever happens in what order, and nobody who is in goes.
func TestConnTable(t *testing.T) {
	const places = 8
	r := rand.New(rand.NewPCG(1, 1))
	table := newConnTable(places)
	peers := make([]netip.AddrPort, 60)
	for i := range peers {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i % 7)})
		if i%2 == 0 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 7: byte(i % 5), 15: byte(i)})
		}
		peers[i] = netip.AddrPortFrom(addr, uint16(i+1))
	}
	sessions := make([]netip.AddrPort, 5)
	var open []*serverConn
	evicted := 0
	for range 2000 {
		var out *serverConn
		switch r.IntN(4) {
		case 0, 1:
			c := &serverConn{tcpConn: &tcpConn{peer: peers[r.IntN(len(peers))]}}
			open = append(open, c)
			out = table.add(c)
		case 2:
			if len(open) > 0 {
				i := r.IntN(len(open))
				table.remove(open[i])
				open = append(open[:i], open[i+1:]...)
			}
		case 3:
			s := &sessions[r.IntN(len(sessions))]
			now := peers[r.IntN(len(peers))]
			if r.IntN(3) == 0 {
				now = netip.AddrPort{}
			}
			out = table.move(*s, now)
			*s = now
		}
		if out != nil {
			evicted++
			require.True(t, table.in[out.peer] == 0 || table.conns[out.peer] != nil, "another one has taken its place")
			for i, c := range open {
				if c == out {
					open = append(open[:i], open[i+1:]...)
					break
				}
			}
		}
		count, sites := 0, make(map[netip.Prefix]int)
		for from, list := range table.strangers {
			require.NotEmpty(t, list)
			count += len(list)
			for i, c := range list {
				require.Equal(t, from, sourceOf(c.peer.Addr()))
				sites[siteOf(c.peer.Addr())]++
				require.True(t, i == 0 || list[i-1].age < c.age)
			}
		}
		require.Equal(t, count, table.count)
		require.LessOrEqual(t, count, places)
		require.Equal(t, sites, table.sites)
		for _, n := range sites {
			require.LessOrEqual(t, n, places/2)
		}
		for _, c := range table.conns {
			require.Contains(t, open, c)
		}
		require.LessOrEqual(t, len(table.in), len(sessions))
	}
	require.Greater(t, evicted, 100)
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string][2]string{
		"198.51.100.10":         {"198.51.100.10/32", "198.51.100.10/32"},
		"2001:db8:cafe::10":     {"2001:db8:cafe::/64", "2001:db8:cafe::/48"},
		"2001:db8:cafe:1:2::10": {"2001:db8:cafe:1::/64", "2001:db8:cafe::/48"},
	} {
		a := netip.MustParseAddr(addr)
		require.Equal(t, want, [2]string{sourceOf(a).String(), siteOf(a).String()})
	}
}

// One host with an IPv6 /48 has 65,536 networks from which it may connect, and gets no more
// places for it; nor do its newest connections push out anybody else.
func TestSiteDoesNotKeepOthersOut(t *testing.T) {
	const places = 8
	table := newConnTable(places)
	add := func(peer string) (out *serverConn) {
		return table.add(&serverConn{tcpConn: &tcpConn{peer: netip.MustParseAddrPort(peer)}})
	}
	others := []string{"198.51.100.1:1", "198.51.100.2:1", "[2001:db8:1::1]:1", "[2001:db8:2::1]:1"}
	for _, peer := range others {
		require.Nil(t, add(peer))
	}
	for i := range 1000 {
		out := add(fmt.Sprintf("[2001:db8:bad:%x::1]:1", i))
		if i < places/2 {
			require.Nil(t, out)
			continue
		}
		require.Equal(t, netip.MustParseAddrPort(fmt.Sprintf("[2001:db8:bad:%x::1]:1", i-places/2)), out.peer, "its own oldest one")
	}
	out := add("198.51.100.3:1")
	require.Equal(t, "2001:db8:bad:3e4::1", out.peer.Addr().String())
	for _, peer := range others {
		require.NotNil(t, table.conns[netip.MustParseAddrPort(peer)])
	}
}

// Step 3 knows no proof of who a peer is: the peer is in.
func TestFollowKeepsThePeersConnection(t *testing.T) {
	raw, addr, _ := listen(t, TCP, "127.0.0.1:0")
	in := newInbox(t, Follow(raw))
	client := visit(t, "127.0.0.1", addr, in)
	_, err := client.Write(append([]byte{0, byte(len(ipv4))}, ipv4...))
	require.NoError(t, err)
	in.next(t)
	for range 2 * DefaultMaxConns {
		visit(t, "127.0.0.1", addr, in)
	}
	client.says(t, in)
	require.True(t, client.open())
}

// A write to a client that receives nothing does not wait, even if there is no
// other one: there may be others that have come by another socket. The client reads
// just enough to keep its connection.
func TestTCPServerWaitsForNobody(t *testing.T) {
	server, addr, drops := listen(t, TCP, "127.0.0.1:0")
	in := newInbox(t, server)
	stuck := visit(t, "127.0.0.1", addr, in)
	require.NoError(t, stuck.Conn.(*net.TCPConn).SetReadBuffer(4096))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				io.CopyN(io.Discard, stuck, 64<<10)
			}
		}
	}()
	full := make(chan struct{})
	go func() {
		defer close(full)
		b := link.NewBurst()
		b.Addr = stuck.addr
		b.Alloc(60000)
		for drops.Count(link.QueueFull) == 0 {
			if err := server.WriteBurst(b); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	select {
	case <-full:
	case <-time.After(limit):
		require.Fail(t, "it waits for the one that is stuck")
	}
	require.Zero(t, drops.Count(link.NoPeer), "it is still there")
	close(stop)
	stuck.Close()
	<-stopped
	server.Close()
	<-full
}

// Connections from the same address and port to several addresses of the server are
// not hidden behind each other.
func TestAPeerHasOneConnection(t *testing.T) {
	_, addr, in := keeper(t)
	first := visit(t, "127.0.0.1", addr, in)
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(first.addr), Control: reuseAddr}
	c, err := d.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port()).String())
	require.NoError(t, err)
	defer c.Close()
	second := visitor{c, first.addr}
	second.says(t, in)
	first.closed(t)
	require.True(t, second.open())
}

func reuseAddr(_, _ string, c syscall.RawConn) (err error) {
	c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	return err
}
