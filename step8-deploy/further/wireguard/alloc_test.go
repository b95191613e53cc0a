package wireguard

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// A wire is one end of a link in memory that allocates nothing.
type wire struct {
	in, out oneWay
	closed  chan struct{}
	close   func()
}

type oneWay struct{ full, free chan *link.Burst }

func newWire() (link.Link, link.Link) {
	way := func() oneWay {
		w := oneWay{make(chan *link.Burst, 8), make(chan *link.Burst, 8)}
		for range cap(w.free) {
			w.free <- link.NewBurst()
		}
		return w
	}
	there, back, closed := way(), way(), make(chan struct{})
	end := sync.OnceFunc(func() { close(closed) })
	return &wire{back, there, closed, end}, &wire{there, back, closed, end}
}

func (w *wire) WriteBurst(b *link.Burst) error {
	select {
	case to := <-w.out.free:
		copyBurst(to, b)
		w.out.full <- to
		return nil
	case <-w.closed:
		return net.ErrClosed
	}
}

func (w *wire) ReadBurst(b *link.Burst) error {
	select {
	case from := <-w.in.full:
		copyBurst(b, from)
		w.in.free <- from
		return nil
	case <-w.closed:
		return net.ErrClosed
	}
}

func (w *wire) Close() error { w.close(); return nil }

func copyBurst(to, from *link.Burst) {
	to.Reset()
	for i := range from.Len() {
		p := from.At(i)
		copy(to.Alloc(len(p)), p)
	}
}

// Packets pass in both directions without an allocation, with one peer and with two.
func TestPeersAllocateNothing(t *testing.T) {
	for _, networks := range [][]string{{"10.2.0.0/16"}, {"10.2.0.0/16", "10.3.0.0/16"}} {
		var drops link.Drops
		var list []*Peer
		for _, n := range networks {
			list = append(list, &Peer{AllowedIPs: prefixes(n)})
		}
		p := NewPeers(list, &drops)
		near, far := newWire()
		s := sessionOver(t, near, far, &drops)
		ctx, cancel := context.WithCancel(t.Context())
		ended := use(t, ctx, p, list[0], s)
		l, b, in := p.Open(), link.NewBurst(), link.NewBurst()
		there, back := ip("10.9.0.1", "10.2.0.1", 1300, 1), ip("10.2.0.1", "10.9.0.1", 1300, 2)
		fill := func(packet []byte) {
			b.Reset()
			for range 40 {
				copy(b.Alloc(len(packet)), packet)
			}
		}
		allocs := testing.AllocsPerRun(200, func() {
			fill(there)
			require.NoError(t, l.WriteBurst(b))
			require.NoError(t, s.far.ReadBurst(in))
			fill(back)
			require.NoError(t, s.far.WriteBurst(b))
			for n := 0; n < 40; n += in.Len() {
				require.NoError(t, l.ReadBurst(in))
			}
		})
		if !raceDetector { // which makes a sync.Pool forget
			require.Zero(t, allocs, "with %d peers", len(list))
		}
		require.EqualValues(t, 201*40, list[0].Sent.Packets())
		require.EqualValues(t, 201*40, list[0].Received.Packets())
		require.Equal(t, "none", drops.String())
		cancel()
		require.NoError(t, within(t, ended))
	}
}

// sessionOver is a session over a link, whose far end is that of the peer.
func sessionOver(t *testing.T, near, far link.Link, drops *link.Drops) pair {
	t.Helper()
	own, theirs := noise.GenerateKey(), noise.GenerateKey()
	public := theirs.Public()
	server, err := secure.Server(far, secure.Config{Handshake: Handshake(theirs, nil, nil), Format: Format, Drops: drops, MTU: 1420})
	require.NoError(t, err)
	ready := make(chan error, 1)
	go func() {
		ready <- server.ReadUntil(func() bool { return !server.Status().Since.IsZero() })
	}()
	client, err := secure.Client(t.Context(), near, secure.Config{Handshake: Handshake(own, &public, nil), Format: Format, Drops: drops, MTU: 1420})
	require.NoError(t, err)
	require.NoError(t, within(t, ready))
	t.Cleanup(func() { client.Close(); server.Close() })
	return pair{client, server}
}
