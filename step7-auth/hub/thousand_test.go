package hub

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A street is a socket with a thousand clients on the other side: what it gets, it
// passes to the client of the address.
type street struct {
	in      chan handshake // to the hub: address and message
	closed  chan struct{}
	close   func()
	deliver func(to netip.AddrPort, m []byte)
}

func newStreet(deliver func(netip.AddrPort, []byte)) *street {
	s := &street{in: make(chan handshake, 4096), closed: make(chan struct{}), deliver: deliver}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	return s
}

func (s *street) put(from netip.AddrPort, m []byte) {
	k := handshake{from: from, len: len(m)}
	copy(k.message[:], m)
	select {
	case s.in <- k:
	case <-s.closed:
	}
}

func (s *street) ReadBurst(b *link.Burst) error {
	b.Reset()
	select {
	case <-s.closed:
		return net.ErrClosed
	case k := <-s.in:
		copy(b.Alloc(k.len), k.message[:k.len])
		b.Addr = k.from
		return nil
	}
}

func (s *street) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		s.deliver(b.Addr, b.At(i))
	}
	return nil
}

func (s *street) Close() error {
	s.close()
	return nil
}

// A thousand clients connect at once, as after a restart of the server, while
// somebody sends a thousand initiations that he recorded before. All are back
// within seconds; the memory of each is bounded, and there is no goroutine for it.
func TestThousandClients(t *testing.T) {
	const clients = 1000
	r := newRegistry()
	cfg := config(r)
	cfg.MaxClients = clients
	keys := make([]noise.PrivateKey, clients)
	raws := make([]*raw, clients)
	byAddr := make(map[netip.AddrPort]*raw)
	var recorded [][]byte
	for i := range clients {
		keys[i] = r.add(Account{Name: fmt.Sprintf("c%04d", i)})
		raws[i] = newRaw(i)
		byAddr[raws[i].addr] = raws[i]
		recorded = append(recorded, raws[i].initiation(t, keys[i], hello{Time: 1000, Instance: 1}))
	}

	h, err := New(cfg)
	require.NoError(t, err)
	var socket *street
	responses := make(chan handshake, 4*clients)
	socket = newStreet(func(to netip.AddrPort, m []byte) {
		if m[0] == 2 {
			k := handshake{from: to, len: len(m)}
			copy(k.message[:], m)
			responses <- k
		}
	})
	device, host := link.Pipe(64)
	defer host.Close()

	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, Queue{Device: device, Socket: socket}) }()

	begin := time.Now()
	eve := netip.MustParseAddrPort("198.51.100.66:6")
	connected := make(map[*raw]time.Time)
	for _, m := range recorded {
		socket.put(eve, m)
	}
	asked, enough, hello := time.Time{}, 0, hello{Time: 2000, Instance: 2}
	for len(connected) < clients || len(h.Snapshot()) < clients {
		// Some at a time, so that on a slow machine, too, a client that is let in comes soon
		// enough. A client that has no answer asks again, and so does one that was too late.
		if len(connected) == enough || time.Since(asked) > 2*time.Second {
			hello.Time++
			there := make(map[string]bool)
			for _, s := range h.Snapshot() {
				there[s.Name] = true
			}
			for i, c := range raws {
				if at, ok := connected[c]; ok && !there[fmt.Sprintf("c%04d", i)] && time.Since(at) > pendingFor {
					delete(connected, c) // its first packet came too late
				}
			}
			enough = len(connected)
			for i, c := range raws {
				if connected[c].IsZero() && enough < len(connected)+50 {
					enough++
					socket.put(c.addr, c.initiation(t, keys[i], hello))
				}
			}
			asked = time.Now()
		}
		select {
		case k := <-responses:
			c := byAddr[k.from]
			if c == nil || !connected[c].IsZero() {
				continue // eve's
			}
			if m := c.response(t, k.message[:k.len], 64); m != nil {
				connected[c] = time.Now()
				socket.put(c.addr, m)
			}
		case <-time.After(100 * time.Millisecond):
		}
		require.Less(t, time.Since(begin), 3*time.Minute, "%d are connected; %v", len(connected), h.drops)
	}
	took := time.Since(begin)
	t.Logf("%d clients are connected after %v; dropped: %v", clients, took.Round(time.Millisecond), h.drops)

	runtime.GC()
	runtime.ReadMemStats(&after)
	perClient := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / clients
	t.Logf("a client takes %d bytes of memory", perClient)
	require.Less(t, perClient, int64(64<<10))
	require.Less(t, runtime.NumGoroutine(), goroutines+10, "there is no goroutine per client")

	for _, c := range raws {
		socket.put(c.addr, c.seal(nil, c.packet))
	}
	b := link.NewBurst()
	for range clients {
		require.NoError(t, host.ReadBurst(b))
	}
	stop()
	require.NoError(t, <-done)
}
