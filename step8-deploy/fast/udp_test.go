package fast

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

func options(o UDPOptions) UDPOptions {
	o.Drops = new(link.Drops)
	return o
}

// listen returns a server's end on an address, such as "127.0.0.1:0".
func listen(t testing.TB, addr string, o UDPOptions) (*UDP, netip.AddrPort) {
	t.Helper()
	config := net.ListenConfig{Control: reusePort}
	conn, err := config.ListenPacket(context.Background(), "udp", addr)
	require.NoError(t, err)
	u, err := NewUDP(conn.(*net.UDPConn), options(o))
	require.NoError(t, err)
	t.Cleanup(func() { u.Close() })
	return u, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// dial returns a client's end, connected to a server.
func dial(t testing.TB, to netip.AddrPort, o UDPOptions) (*UDP, netip.AddrPort) {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	u, err := NewUDP(conn, options(o))
	require.NoError(t, err)
	t.Cleanup(func() { u.Close() })
	return u, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// receive reads n packets, and returns them with the number of bursts.
func receive(t testing.TB, u *UDP, n int, from netip.AddrPort) (packets [][]byte, bursts int) {
	t.Helper()
	b := link.NewBurst()
	for len(packets) < n {
		require.NoError(t, u.ReadBurst(b))
		require.Equal(t, from, b.Addr)
		bursts++
		for i := range b.Len() {
			packets = append(packets, bytes.Clone(b.At(i)))
		}
	}
	return packets, bursts
}

// sizes returns the lengths of a burst's packets.
func sizes(r *rand.Rand, list ...int) (packets [][]byte) {
	for _, n := range list {
		packets = append(packets, randomBytes(r, n))
	}
	return packets
}

func repeat(size, n int) (list []int) {
	for range n {
		list = append(list, size)
	}
	return list
}

// Packets arrive as they were sent, in both directions, with every combination of offloads.
func TestUDP(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, o := range []UDPOptions{{}, {NoGSO: true}, {NoGRO: true}, {NoGSO: true, NoGRO: true}} {
			t.Run(fmt.Sprintf("%s/GSO=%v,GRO=%v", host, !o.NoGSO, !o.NoGRO), func(t *testing.T) {
				server, addr := listen(t, net.JoinHostPort(host, "0"), o)
				client, clientAddr := dial(t, addr, o)
				for _, list := range [][]int{
					{100}, {0}, {1, 1, 1}, repeat(1452, 45), append(repeat(1452, 44), 7), repeat(1000, 64),
					{100, 200, 200, 50, 50, 50, 60, 0, 0, 1}, {9000, 9000, 9000, 9000, 9000, 9000, 9000}, {65000},
				} {
					want := sizes(r, list...)
					b := burstOf(want...)
					require.NoError(t, client.WriteBurst(b))
					got, bursts := receive(t, server, len(want), clientAddr)
					require.Equal(t, want, got)
					if len(want) > 40 && list[0] == list[1] && !o.NoGSO && !o.NoGRO {
						require.Equal(t, 1, bursts)
					}
					if o.NoGRO {
						require.Equal(t, len(want), bursts)
					}
					b = burstOf(want...)
					b.Addr = clientAddr
					require.NoError(t, server.WriteBurst(b))
					got, _ = receive(t, client, len(want), addr)
					require.Equal(t, want, got)
				}
				require.Equal(t, "none", server.o.Drops.String())
				require.Equal(t, "none", client.o.Drops.String())
			})
		}
	}
}

// A server with several addresses answers from the address that the client has used.
func TestAnswersFromTheAddressThatWasAsked(t *testing.T) {
	for _, wildcard := range []string{":0", "0.0.0.0:0"} { // an IPv6 socket that takes IPv4 as well, and an IPv4 one
		server, addr := listen(t, wildcard, UDPOptions{})
		for _, asked := range []string{"127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"} {
			to := netip.AddrPortFrom(netip.MustParseAddr(asked), addr.Port())
			if to.Addr().Is6() && wildcard != ":0" {
				continue
			}
			client, clientAddr := dial(t, to, UDPOptions{}) // the client accepts answers only from there
			for range 2 {
				require.NoError(t, client.WriteBurst(burstOf(make([]byte, 100), make([]byte, 100))))
				receive(t, server, 2, clientAddr)
				answer := burstOf(repeatBytes(100, 3)...)
				answer.Addr = clientAddr
				require.NoError(t, server.WriteBurst(answer))
				receive(t, client, 3, to)
			}
		}
		require.Equal(t, "none", server.o.Drops.String())
	}
}

func repeatBytes(size, n int) (list [][]byte) {
	for range n {
		list = append(list, make([]byte, size))
	}
	return list
}

// Sockets that share a port share what they know about their peers.
func TestSharedSources(t *testing.T) {
	shared := newSources()
	one, addr := listen(t, ":0", UDPOptions{sources: shared})
	other, _ := listen(t, fmt.Sprintf(":%d", addr.Port()), UDPOptions{sources: shared})
	heard := make(chan netip.AddrPort, 2)
	for _, server := range []*UDP{one, other} {
		go func() {
			b := link.NewBurst()
			for server.ReadBurst(b) == nil {
				heard <- b.Addr
			}
		}()
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port())
	client, clientAddr := dial(t, to, UDPOptions{})
	require.NoError(t, client.WriteBurst(burstOf(make([]byte, 10))))
	require.Equal(t, clientAddr, <-heard)
	for _, server := range []*UDP{one, other} {
		answer := burstOf(make([]byte, 10))
		answer.Addr = clientAddr
		require.NoError(t, server.WriteBurst(answer))
		receive(t, client, 1, to)
	}
}

func TestSourcesForgetButNeverMixUp(t *testing.T) {
	s := newSources()
	peer := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1)
	}
	local := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}) }
	const many = 10 * sourceSlots
	for n := range many {
		s.learn(peer(n), local(n))
		require.Equal(t, local(n), s.of(peer(n)))
	}
	known := 0
	for n := range many {
		if a := s.of(peer(n)); a.IsValid() {
			require.Equal(t, local(n), a)
			known++
		}
	}
	require.LessOrEqual(t, known, sourceSlots)
	require.Greater(t, known, sourceSlots*9/10)
}

// A packet without a receiver is no error.
func TestUDPWithoutPeer(t *testing.T) {
	server, _ := listen(t, "127.0.0.1:0", UDPOptions{})
	require.NoError(t, server.WriteBurst(burstOf(make([]byte, 10), make([]byte, 10))))
	b := burstOf(make([]byte, 10))
	b.Addr = netip.MustParseAddrPort("[2001:db8::1]:1") // an IPv4 socket can't send there
	require.NoError(t, server.WriteBurst(b))
	require.Equal(t, "no-peer 3", server.o.Drops.String())
}

// A server that does not run, or not yet, does not end the client.
func TestUDPRefused(t *testing.T) {
	server, addr := listen(t, "127.0.0.1:0", UDPOptions{})
	server.Close()
	client, _ := dial(t, addr, UDPOptions{})
	for client.o.Drops.Count(link.Unreachable) < 3 {
		require.NoError(t, client.WriteBurst(burstOf(repeatBytes(100, 3)...)))
	}
	require.Zero(t, client.sender.alone)
}

func TestUDPClosed(t *testing.T) {
	server, addr := listen(t, "127.0.0.1:0", UDPOptions{})
	client, _ := dial(t, addr, UDPOptions{})
	for _, u := range []*UDP{server, client} {
		failed := make(chan error)
		go func() { failed <- u.ReadBurst(link.NewBurst()) }()
		require.NoError(t, u.Close())
		require.NoError(t, u.Close())
		require.ErrorIs(t, <-failed, net.ErrClosed)
		b := burstOf(make([]byte, 10))
		b.Addr = addr
		require.ErrorIs(t, u.WriteBurst(b), net.ErrClosed)
	}
}

// refusingSocket is a socket whose calls with several packets return an error.
type refusingSocket struct {
	syscall.RawConn
	s     *udpSender
	errno unix.Errno
	calls *int
}

func (r refusingSocket) Write(f func(uintptr) bool) error {
	if r.s.control.used > 0 {
		*r.calls++
		r.s.errno = r.errno
		return nil
	}
	return r.RawConn.Write(f)
}

// When the kernel refuses to send several packets in one call, they are sent one by one, and
// so are later packets for a while. A path with too small an MTU is another matter.
func TestKernelThatDoesNotSegment(t *testing.T) {
	want := sizes(rand.New(rand.NewPCG(1, 2)), repeat(1000, 20)...)
	for errno, calls := range map[unix.Errno]int{unix.EIO: 1, unix.EINVAL: 1, unix.EMSGSIZE: 6} {
		server, addr := listen(t, "127.0.0.1:0", UDPOptions{})
		client, clientAddr := dial(t, addr, UDPOptions{})
		refused := 0
		client.sender.raw = refusingSocket{client.sender.raw, &client.sender, errno, &refused}
		text := logged(func() {
			for range 3 {
				require.NoError(t, client.WriteBurst(burstOf(want...)))
				got, _ := receive(t, server, len(want), clientAddr)
				require.Equal(t, want, got)
			}
			require.Equal(t, calls, refused)
			for refused == calls { // it tries again
				require.NoError(t, client.WriteBurst(burstOf(want[:2]...)))
				receive(t, server, 2, clientAddr)
			}
		})
		lines := 0
		if errno != unix.EMSGSIZE {
			lines = 1
		}
		require.Equal(t, lines, bytes.Count([]byte(text), []byte("\n")), text)
	}
}
