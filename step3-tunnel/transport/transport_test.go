package transport

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds each wait of a test. It is long since a busy machine is slow.
const limit = 20 * time.Second

// inbox reads packets from a Conn in the background.
type inbox chan received

func newInbox(t *testing.T, c link.Link) inbox {
	in := make(inbox, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := link.NewBurst()
		for c.ReadBurst(b) == nil {
			for i := range b.Len() {
				in <- received{from: b.Addr, packet: bytes.Clone(b.At(i))}
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return in
}

func (in inbox) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-in:
		return r
	case <-time.After(limit):
		require.FailNow(t, "no packet came")
		panic("unreachable")
	}
}

func write(t *testing.T, c link.Link, to netip.AddrPort, packets ...[]byte) {
	t.Helper()
	b := link.NewBurst()
	b.Addr = to
	for _, p := range packets {
		copy(b.Alloc(len(p)), p)
	}
	require.NoError(t, c.WriteBurst(b))
}

func listen(t *testing.T, network, addr string) (Conn, netip.AddrPort, *link.Drops) {
	t.Helper()
	drops := new(link.Drops)
	c, err := Listen(network, addr, Options{Drops: drops})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c, c.Addr(), drops
}

func dial(t *testing.T, network string, addr netip.AddrPort) (Conn, *link.Drops) {
	t.Helper()
	drops := new(link.Drops)
	c, err := Dial(network, addr.String(), Options{Drops: drops})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c, drops
}

// connected waits until a TCP client can send; over UDP that is always so.
func connected(t *testing.T, c Conn) {
	t.Helper()
	if c, ok := c.(*tcpClient); ok {
		require.Eventually(t, func() bool { return c.current() != nil }, limit, time.Millisecond)
	}
}

// Everything that holds for both networks and both IP versions.
func TestPacketsKeepTheirBoundaries(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(network+" "+host, func(t *testing.T) {
				server, addr, _ := listen(t, network, host)
				serverIn := newInbox(t, server)
				client, _ := dial(t, network, addr)
				clientIn := newInbox(t, client)
				connected(t, client)

				for _, size := range []int{1, 2, 20, 1400, 1500, 9000, 65000} {
					p := make([]byte, size)
					for i := range p {
						p[i] = byte(rand.Int())
					}
					write(t, client, netip.AddrPort{}, p)
					got := serverIn.next(t)
					require.True(t, bytes.Equal(p, got.packet), "client to server, %d bytes", size)

					write(t, server, got.from, p)
					require.True(t, bytes.Equal(p, clientIn.next(t).packet), "server to client, %d bytes", size)
				}
			})
		}
	}
}

func TestAWholeBurstIsSent(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			server, addr, _ := listen(t, network, "127.0.0.1:0")
			in := newInbox(t, server)
			client, _ := dial(t, network, addr)
			newInbox(t, client)
			connected(t, client)
			var packets [][]byte
			for i := range link.MaxBurst {
				packets = append(packets, fmt.Appendf(nil, "packet %d", i))
			}
			write(t, client, netip.AddrPort{}, packets...)
			for _, p := range packets {
				require.Equal(t, string(p), string(in.next(t).packet))
			}
		})
	}
}

func TestServerAnswersEachPeerAtItsAddress(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			server, addr, _ := listen(t, network, "127.0.0.1:0")
			in := newInbox(t, server)
			var inboxes []inbox
			var from []netip.AddrPort
			for i := range 3 {
				client, _ := dial(t, network, addr)
				inboxes = append(inboxes, newInbox(t, client))
				connected(t, client)
				write(t, client, netip.AddrPort{}, []byte{byte(i)})
				from = append(from, in.next(t).from)
			}
			for i := range 3 {
				write(t, server, from[i], []byte{byte(i)})
			}
			for i := range 3 {
				require.Equal(t, []byte{byte(i)}, inboxes[i].next(t).packet)
			}
		})
	}
}

func TestNothingIsLostForAServerThatStartsLater(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			// A port that was free a moment ago, of an address from which no other program here connects.
			first, addr, _ := listen(t, network, "127.0.3.1:0")
			require.NoError(t, first.Close())

			client, drops := dial(t, network, addr)
			newInbox(t, client)
			refusedOnce := func() bool {
				write(t, client, netip.AddrPort{}, []byte("anybody?"))
				return drops.Count(link.Unreachable)+drops.Count(link.NoPeer) > 0
			}
			require.Eventually(t, refusedOnce, limit, time.Millisecond)

			server, _, _ := listen(t, network, addr.String())
			in := newInbox(t, server)
			arrived := func() bool {
				write(t, client, netip.AddrPort{}, []byte("hello"))
				return len(in) > 0
			}
			require.Eventually(t, arrived, limit, 10*time.Millisecond)
		})
	}
}

func TestTCPClientConnectsAgain(t *testing.T) {
	server, addr, _ := listen(t, TCP, "127.0.3.2:0")
	in := newInbox(t, server)
	client, _ := dial(t, TCP, addr)
	newInbox(t, client)
	connected(t, client)
	write(t, client, netip.AddrPort{}, []byte("before"))
	in.next(t)

	require.NoError(t, server.Close())
	again, _, _ := listen(t, TCP, addr.String())
	in = newInbox(t, again)
	arrived := func() bool {
		write(t, client, netip.AddrPort{}, []byte("after"))
		return len(in) > 0
	}
	require.Eventually(t, arrived, limit, 10*time.Millisecond)
	require.Equal(t, "after", string(in.next(t).packet))
}

// A server that accepts and hangs up must not be hammered: only a packet, not a
// connection, ends the waiting between attempts.
func TestTCPClientBacksOffFromAServerThatHangsUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	c, _ := dial(t, TCP, localAddr(listener.Addr()))
	client := c.(*tcpClient)
	for _, want := range []time.Duration{tcpRetryFirst, 2 * tcpRetryFirst} {
		conn, err := client.connect()
		require.NoError(t, err)
		require.Equal(t, want, client.pause)
		client.disconnect(conn, net.ErrClosed)
	}
}

func TestCloseUnblocksAndIsFinal(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			server, addr, _ := listen(t, network, "127.0.0.1:0")
			client, _ := dial(t, network, addr)
			for _, c := range []Conn{server, client} {
				result := make(chan error)
				go func() {
					b := link.NewBurst()
					for {
						if err := c.ReadBurst(b); err != nil {
							result <- err
							return
						}
					}
				}()
				require.NoError(t, c.Close())
				c.Close()
				select {
				case err := <-result:
					require.ErrorIs(t, err, net.ErrClosed)
				case <-time.After(limit):
					require.Fail(t, "still reading")
				}
				b := link.NewBurst()
				b.Addr = addr
				b.Alloc(1)
				require.ErrorIs(t, c.WriteBurst(b), net.ErrClosed)
			}
		})
	}
}

func TestServerWithoutAPeerDropsAndCounts(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			server, _, drops := listen(t, network, "127.0.0.1:0")
			write(t, server, netip.AddrPort{}, []byte("a"), []byte("b"))
			require.EqualValues(t, 2, drops.Count(link.NoPeer))
		})
	}
}

func TestADatagramThatIsTooBigIsCounted(t *testing.T) {
	server, addr, serverDrops := listen(t, UDP, "127.0.0.1:0")
	client, drops := dial(t, UDP, addr)
	write(t, client, netip.AddrPort{}, make([]byte, link.MaxPacket))
	require.EqualValues(t, 1, drops.Count(link.TooBig))
	write(t, server, addr, make([]byte, link.MaxPacket)) // to itself: it doesn't get that far
	require.EqualValues(t, 1, serverDrops.Count(link.TooBig))
}

// Reading goes on after a fault, and a socket that only fails doesn't use up a processor: after the first 16 faults each one
// costs at least 1 ms. (The fault is a deadline that is over, as a test can bring that about and take it away.)
func TestAFaultySocketIsReadSlowly(t *testing.T) {
	server, addr, serverDrops := listen(t, UDP, "127.0.0.1:0")
	client, drops := dial(t, UDP, addr)
	write(t, client, netip.AddrPort{}, []byte("hello"))
	b := link.NewBurst()
	require.NoError(t, server.ReadBurst(b))
	from := b.Addr
	for _, c := range []struct {
		faulty Conn
		drops  *link.Drops
		send   func()
	}{
		{client, drops, func() { write(t, server, from, []byte("fine")) }},
		{server, serverDrops, func() { write(t, client, netip.AddrPort{}, []byte("fine")) }},
	} {
		socket := c.faulty.(interface{ SetReadDeadline(time.Time) error })
		require.NoError(t, socket.SetReadDeadline(time.Unix(1, 0)))
		began := time.Now()
		in := newInbox(t, c.faulty)
		const slow = 50
		require.Eventually(t, func() bool { return c.drops.Count(link.Unreachable) > faultsAtOnce+slow }, limit, time.Millisecond)
		require.GreaterOrEqual(t, time.Since(began), slow*faultPause)
		require.NoError(t, socket.SetReadDeadline(time.Time{}))
		c.send()
		require.Equal(t, "fine", string(in.next(t).packet))
	}
}

// Both ends ask for room for a burst of packets. The kernel doubles what it grants, for its own records.
func TestUDPSocketsHaveRoomForABurst(t *testing.T) {
	size := func(socket any, option int) (n int) {
		raw, err := socket.(syscall.Conn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { n, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option) }))
		require.NoError(t, err)
		return n
	}
	server, addr, _ := listen(t, UDP, "127.0.0.1:0")
	client, _ := dial(t, UDP, addr)
	for _, option := range []int{syscall.SO_RCVBUF, syscall.SO_SNDBUF} {
		plain, err := net.Dial("udp", addr.String())
		require.NoError(t, err)
		defer plain.Close()
		require.NoError(t, plain.(*net.UDPConn).SetReadBuffer(socketBuffer))
		require.NoError(t, plain.(*net.UDPConn).SetWriteBuffer(socketBuffer))
		granted := size(plain, option)
		require.Equal(t, granted, size(client, option))
		require.Equal(t, granted, size(server, option))
	}
	// A socket that another process has made keeps the sizes that it has.
	untouched, err := net.Dial("udp", addr.String())
	require.NoError(t, err)
	defer untouched.Close()
	o := Options{Drops: new(link.Drops), Dial: new(net.Dialer).DialContext}
	given, err := Dial(UDP, addr.String(), o)
	require.NoError(t, err)
	defer given.Close()
	require.Equal(t, size(untouched, syscall.SO_RCVBUF), size(given, syscall.SO_RCVBUF))
}

// A length that promises more than comes holds nobody else up.
func TestTCPServerSurvivesAStreamThatEndsInsideAPacket(t *testing.T) {
	server, addr, _ := listen(t, TCP, "127.0.0.1:0")
	in := newInbox(t, server)
	for _, stream := range [][]byte{{0xff}, {0xff, 0xff}, {0xff, 0xff, 1, 2, 3}} {
		raw, err := net.Dial("tcp", addr.String())
		require.NoError(t, err)
		_, err = raw.Write(stream)
		require.NoError(t, err)
		defer raw.Close() // some stay open while the next ones come
	}
	client, _ := dial(t, TCP, addr)
	newInbox(t, client)
	connected(t, client)
	write(t, client, netip.AddrPort{}, []byte("fine"))
	require.Equal(t, "fine", string(in.next(t).packet))
}

func TestAddressesAreChecked(t *testing.T) {
	o := Options{Drops: new(link.Drops)}
	for _, addr := range []string{"", "203.0.113.10", ":5555", "203.0.113.10:", "203.0.113.10:99999", "203.0.113.10:0"} {
		_, err := Dial(UDP, addr, o)
		require.Error(t, err, "server %q", addr)
		require.NotContains(t, err.Error(), "\n")
	}
	for _, addr := range []string{"", "5555", "203.0.113.10:99999"} {
		_, err := Listen(TCP, addr, o)
		require.Error(t, err, "listen %q", addr)
	}
	_, err := Dial("sctp", "127.0.0.1:1", o)
	require.ErrorContains(t, err, `transport "sctp" is unknown`)
	_, err = Listen("sctp", "127.0.0.1:1", o)
	require.ErrorContains(t, err, `transport "sctp" is unknown`)

	for _, network := range []string{UDP, TCP} {
		_, addr, _ := listen(t, network, "127.0.0.1:0")
		_, err = Listen(network, addr.String(), o)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		_, err = Listen(network, "192.0.2.254:5555", o)
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	}
}

func TestControlSeesTheSocketBeforeItIsUsed(t *testing.T) {
	for _, network := range []string{UDP, TCP} {
		t.Run(network, func(t *testing.T) {
			_, addr, _ := listen(t, network, "127.0.0.1:0")
			refuse := errors.New("refused by control")
			called := make(chan struct{}, 100)
			o := Options{Drops: new(link.Drops), Control: func(string, string, syscall.RawConn) error {
				called <- struct{}{}
				return refuse
			}}
			client, err := Dial(network, addr.String(), o)
			if network == TCP {
				require.NoError(t, err)
				newInbox(t, client)
			} else {
				require.ErrorIs(t, err, refuse)
			}
			select {
			case <-called:
			case <-time.After(limit):
				require.Fail(t, "control was not called")
			}
		})
	}
}

func TestMTUShowsTheSum(t *testing.T) {
	server, addr, _ := listen(t, UDP, "127.0.0.1:0")
	client, _ := dial(t, UDP, addr)
	m := client.MTU()
	require.Equal(t, 65535-20-8, m.Size)
	require.Equal(t, "65507 = 65535 (path to 127.0.0.1) - 20 (IPv4) - 8 (UDP)", m.String())
	require.Positive(t, server.MTU().Size)

	tcp, _ := dial(t, TCP, netip.MustParseAddrPort("[::1]:1"))
	require.Equal(t, "65462 = 65536 (path to ::1) - 40 (IPv6) - 32 (TCP) - 2 (length)", tcp.MTU().String())
}

// The steady state allocates nothing.
func TestUDPDoesNotAllocate(t *testing.T) {
	server, addr, _ := listen(t, UDP, "127.0.0.1:0")
	client, _ := dial(t, UDP, addr)
	out, in := link.NewBurst(), link.NewBurst()
	round := func() {
		out.Reset()
		out.Alloc(1400)
		if client.WriteBurst(out) != nil || server.ReadBurst(in) != nil || server.WriteBurst(in) != nil || client.ReadBurst(in) != nil {
			t.Error("a packet did not come through")
		}
	}
	require.Zero(t, testing.AllocsPerRun(1000, round))
}

func TestFollowGoesToWhoeverWasHeardLast(t *testing.T) {
	raw, addr, drops := listen(t, UDP, "127.0.0.1:0")
	server := Follow(raw)
	write(t, server, netip.AddrPort{}, ipv4)
	require.EqualValues(t, 1, drops.Count(link.NoPeer))

	in := newInbox(t, server)
	alice, _ := dial(t, UDP, addr)
	bob, _ := dial(t, UDP, addr)
	aliceIn, bobIn := newInbox(t, alice), newInbox(t, bob)

	write(t, alice, netip.AddrPort{}, ipv4)
	in.next(t)
	write(t, server, netip.AddrPort{}, []byte("to alice"))
	require.Equal(t, "to alice", string(aliceIn.next(t).packet))

	write(t, bob, netip.AddrPort{}, []byte("not an IP packet"))
	in.next(t)
	write(t, server, netip.AddrPort{}, []byte("still to alice"))
	require.Equal(t, "still to alice", string(aliceIn.next(t).packet))

	write(t, bob, netip.AddrPort{}, ipv4)
	in.next(t)
	write(t, server, netip.AddrPort{}, []byte("to bob"))
	require.Equal(t, "to bob", string(bobIn.next(t).packet))
}

// moves is a Conn that is told where the peer is.
type moves struct {
	Conn
	told [][2]netip.AddrPort
}

func (m *moves) PeerMoved(before, now netip.AddrPort) {
	m.told = append(m.told, [2]netip.AddrPort{before, now})
}

// The Conn below hears of each new peer, and whose place it takes.
func TestFollowTellsWhereThePeerIs(t *testing.T) {
	raw, addr, _ := listen(t, UDP, "127.0.0.1:0")
	below := &moves{Conn: raw}
	server := Follow(below)
	b := link.NewBurst()
	var from []netip.AddrPort
	for range 2 {
		client, _ := dial(t, UDP, addr)
		for range 2 { // the second packet is no news
			write(t, client, netip.AddrPort{}, ipv4)
			require.NoError(t, server.ReadBurst(b))
		}
		from = append(from, b.Addr)
	}
	require.Equal(t, [][2]netip.AddrPort{{{}, from[0]}, {from[0], from[1]}}, below.told)
}

// ipv4 is a whole packet: a header without payload, protocol 59 (no next header).
var ipv4 = []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1}

// A TCP client that takes nothing any more does not hold up the others: what is
// for it waits, and then is dropped. What waits when the server closes is sent.
func TestTCPServerIsNotHeldUp(t *testing.T) {
	server, addr, drops := listen(t, TCP, "127.0.0.1:0")
	in := newInbox(t, server)
	stuck, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer stuck.Close()
	_, err = stuck.Write([]byte{0, 1, 'x'})
	require.NoError(t, err)
	there := in.next(t).from
	client, _ := dial(t, TCP, addr)
	out := newInbox(t, client)
	connected(t, client)
	write(t, client, netip.AddrPort{}, []byte("here"))
	here := in.next(t).from

	begin := time.Now()
	for drops.Count(link.QueueFull) == 0 { // it fills the kernel's queues first
		write(t, server, there, make([]byte, 60000))
		require.Less(t, time.Since(begin), tcpWriteTimeout, "it waits for the one that is stuck")
	}
	write(t, server, here, []byte("go on"))
	require.Equal(t, "go on", string(out.next(t).packet))
	write(t, server, here, []byte("goodbye"))
	require.NoError(t, server.Close())
	require.Equal(t, "goodbye", string(out.next(t).packet))
}
