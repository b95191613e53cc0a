package wireguard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

const limit = 20 * time.Second // bounds each wait; a busy machine is slow

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// ip makes an IP packet with n bytes behind the header, each of which has the value fill.
func ip(from, to string, n int, fill byte) []byte {
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	var p []byte
	if src.Is4() {
		p = append([]byte{0x45, 0, byte((20 + n) >> 8), byte(20 + n), 0, 0, 0, 0, 64, 59, 0, 0}, append(src.AsSlice(), dst.AsSlice()...)...)
	} else {
		p = append([]byte{0x60, 0, 0, 0, byte(n >> 8), byte(n), 59, 64}, append(src.AsSlice(), dst.AsSlice()...)...)
	}
	for range n {
		p = append(p, fill)
	}
	return p
}

// TestAllowedIPs: the peer with the longest prefix has an address, as "ip route get" would say.
func TestAllowedIPs(t *testing.T) {
	all := &Peer{AllowedIPs: prefixes("0.0.0.0/0", "::/0")}
	office := &Peer{AllowedIPs: prefixes("10.1.2.3/8", "fd00:1::/32")} // 10.0.0.0/8
	host := &Peer{AllowedIPs: prefixes("10.1.0.0/16", "10.1.2.3/32", "fd00:1::7/128")}
	a := newAllowedIPs([]*Peer{all, office, host})
	for addr, want := range map[string]*Peer{
		"192.0.2.1": all, "9.255.255.255": all, "11.0.0.0": all, "2001:db8::1": all, "::ffff:10.1.2.3": all,
		"10.0.0.0": office, "10.255.255.255": office, "10.2.2.3": office, "fd00:1::8": office,
		"10.1.2.3": host, "10.1.2.4": host, "10.1.255.255": host, "fd00:1::7": host,
	} {
		require.Same(t, want, a.peerOf(netip.MustParseAddr(addr)), addr)
	}
	some := newAllowedIPs([]*Peer{office, host})
	for _, addr := range []string{"9.255.255.255", "11.0.0.0", "::", "fd00:2::1", "0.0.0.0"} {
		require.Nil(t, some.peerOf(netip.MustParseAddr(addr)), addr)
	}
	// The table remembers its last answer, also that there is none.
	l := lookup{allowedIPs: some}
	for range 2 {
		require.Nil(t, l.peerOf(netip.MustParseAddr("192.0.2.1")))
		require.Same(t, host, l.peerOf(netip.MustParseAddr("10.1.2.3")))
		require.Same(t, office, l.peerOf(netip.MustParseAddr("10.2.2.3")))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { a.peerOf(netip.MustParseAddr("10.2.2.3")) }))
}

// A pair is a session with one peer: the client's end is used by Peers, far is the peer's end.
type pair struct {
	near, far *secure.Conn
}

func newPair(t *testing.T, drops *link.Drops) pair {
	t.Helper()
	near, far := link.Pipe(64)
	return sessionOver(t, near, far, drops)
}

// write writes packets in one burst that is made lazily, in the same memory, as a TUN device's
// is: only one of the packets exists at a time.
func write(t *testing.T, l link.Link, packets ...[]byte) {
	t.Helper()
	b := link.NewBurst()
	memory := make([]byte, link.MaxPacket)
	b.Lazy(len(packets), func(i int) []byte { return memory[:copy(memory, packets[i])] })
	require.NoError(t, l.WriteBurst(b))
}

// expect reads until it has these packets, in this order.
func expect(t *testing.T, l link.Link, packets ...[]byte) {
	t.Helper()
	done := make(chan struct{})
	var got [][]byte
	go func() {
		defer close(done)
		for b := link.NewBurst(); len(got) < len(packets); {
			if l.ReadBurst(b) != nil {
				return
			}
			for i := range b.Len() {
				got = append(got, append([]byte{}, b.At(i)...))
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(limit):
		l.Close()
		<-done
	}
	require.Equal(t, packets, got)
}

// use has Peers use the near end of a pair, until the test or ctx ends.
func use(t *testing.T, ctx context.Context, p *Peers, peer *Peer, s pair) (result chan error) {
	result = make(chan error, 1)
	go func() { result <- p.Use(ctx, peer, s.near) }()
	require.Eventually(t, func() bool { now, _ := peer.now(); return now != nil && now.conn == s.near }, limit, time.Millisecond)
	return result
}

func within[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(limit):
		require.Fail(t, "it hangs")
	}
	return v
}

// Packets for two peers, mixed in one burst, go to each in their order, and packets of both
// arrive.
func TestTwoPeers(t *testing.T) {
	var drops link.Drops
	one, two := &Peer{AllowedIPs: prefixes("0.0.0.0/0")}, &Peer{AllowedIPs: prefixes("10.2.0.0/16", "fd00:2::/64")}
	p := NewPeers([]*Peer{one, two}, &drops)
	ctx, cancel := context.WithCancel(t.Context())
	s, u := newPair(t, &drops), newPair(t, &drops)
	ended := []chan error{use(t, ctx, p, one, s), use(t, ctx, p, two, u)}
	l := p.Open()

	me := "10.9.0.1"
	a1, b1, a2 := ip(me, "192.0.2.1", 1000, 1), ip(me, "10.2.0.1", 900, 2), ip(me, "192.0.2.2", 3, 3)
	b2, b3 := ip(me, "10.2.0.1", 40, 4), ip("fd00:2::9", "fd00:2::1", 8, 5)
	write(t, l, a1, b1, b2, a2, ip("fd00:2::9", "fd00:3::1", 8, 6), []byte("not a packet"), b3)
	expect(t, s.far, a1, a2)
	expect(t, u.far, b1, b2, b3)
	require.EqualValues(t, 1, drops.Count(link.NoPeer))
	require.EqualValues(t, 1, drops.Count(link.Malformed))
	require.EqualValues(t, []uint64{2, uint64(len(a1) + len(a2))}, []uint64{one.Sent.Packets(), one.Sent.Bytes()})
	require.EqualValues(t, 3, two.Sent.Packets())

	// Each may send only from its own addresses: the longer prefix takes 10.2.0.0/16 away from the
	// first one, and nobody has fd00:3::/64.
	fromOne, fromTwo := ip("192.0.2.1", me, 700, 1), ip("10.2.0.7", me, 600, 2)
	write(t, s.far, ip("10.2.0.7", me, 5, 9), fromOne)
	expect(t, l, fromOne)
	write(t, u.far, ip("192.0.2.1", me, 5, 9), ip("fd00:3::1", "fd00:2::9", 5, 9), fromTwo)
	expect(t, l, fromTwo)
	require.EqualValues(t, 3, drops.Count(NotAllowed))
	require.EqualValues(t, 1, one.Received.Packets())
	require.EqualValues(t, len(fromTwo), two.Received.Bytes())

	// One that is gone does not end the other.
	s.near.Fail(errors.New("it is lost"))
	require.ErrorContains(t, within(t, ended[0]), "it is lost")
	require.NoError(t, s.far.Close())
	write(t, l, a1, b1, a2, b2)
	expect(t, u.far, b1, b2)
	require.EqualValues(t, 2, drops.Count(secure.NoSession))
	again := newPair(t, &drops)
	ended[0] = use(t, ctx, p, one, again)
	write(t, l, b1, a1)
	expect(t, again.far, a1)
	expect(t, u.far, b1)
	write(t, again.far, fromOne)
	expect(t, l, fromOne)

	cancel()
	require.NoError(t, within(t, ended[0]))
	require.NoError(t, within(t, ended[1]))
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.ReadBurst(link.NewBurst()), net.ErrClosed)
	require.ErrorIs(t, l.WriteBurst(link.NewBurst()), net.ErrClosed)
}

// A peer whose packets nobody reads does not keep those of another from being read: bursts
// arrive in turns.
func TestPeersTakeTurns(t *testing.T) {
	var drops link.Drops
	loud, quiet := &Peer{AllowedIPs: prefixes("10.1.0.0/16")}, &Peer{AllowedIPs: prefixes("10.2.0.0/16")}
	p := NewPeers([]*Peer{loud, quiet}, &drops)
	s, u := newPair(t, &drops), newPair(t, &drops)
	ctx, cancel := context.WithCancel(t.Context())
	ended := []chan error{use(t, ctx, p, loud, s), use(t, ctx, p, quiet, u)}
	go func() {
		for b := link.NewBurst(); ; {
			b.Reset()
			copy(b.Alloc(60), ip("10.1.0.1", "10.9.0.1", 40, 1))
			if s.far.WriteBurst(b) != nil {
				return
			}
		}
	}()
	write(t, u.far, ip("10.2.0.1", "10.9.0.1", 40, 2))
	l, b := p.Open(), link.NewBurst()
	for bursts, heard := 0, false; !heard; bursts++ {
		require.NoError(t, l.ReadBurst(b))
		heard = b.At(0)[13] == 2 // its source is 10.2.0.1
		require.Less(t, bursts, 10_000)
	}
	cancel()
	s.far.Close()
	within(t, ended[0])
	within(t, ended[1])
}

// With one peer, a read goes on with the next session when one has failed, and ends when the Link
// is closed.
func TestOnePeer(t *testing.T) {
	var drops link.Drops
	only := &Peer{AllowedIPs: prefixes("10.2.0.0/16")}
	p := NewPeers([]*Peer{only}, &drops)
	l := p.Open()
	read := make(chan []byte, 1)
	go func() {
		for b := link.NewBurst(); l.ReadBurst(b) == nil; {
			read <- append([]byte{}, b.At(0)...)
		}
		close(read)
	}()
	for i := range byte(3) {
		s := newPair(t, &drops)
		ctx, cancel := context.WithCancel(t.Context())
		ended := use(t, ctx, p, only, s)
		want := ip("10.2.0.1", "10.9.0.1", 30, i)
		write(t, s.far, ip("10.3.0.1", "10.9.0.1", 30, 7), ip("10.3.0.1", "10.9.0.1", 30, 8))
		write(t, s.far, want)
		require.Equal(t, want, within(t, read))
		cancel()
		require.NoError(t, within(t, ended))
		write(t, l, ip("10.9.0.1", "10.2.0.1", 4, i))
	}
	require.EqualValues(t, 6, drops.Count(NotAllowed))
	require.EqualValues(t, 3, drops.Count(secure.NoSession))
	require.NoError(t, l.Close())
	_, more := <-read
	require.False(t, more)
}
