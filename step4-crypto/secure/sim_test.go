package secure

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// A simulation runs two peers without goroutines and without a clock: it is the
// network between them, and decides what time it is.
type simulation struct {
	t              *testing.T
	now            time.Time
	client, server *node
	inFlight       []transit // in the order of their arrival

	latency time.Duration
	// fate, if set, returns after how long each copy of a message arrives; none
	// means that it is lost.
	fate func(from *node, m []byte) []time.Duration
}

// A node is one peer and what it has received.
type node struct {
	*Peer
	opener *Opener
	server *oneClient // of a server
	burst  *link.Burst
	addr   netip.AddrPort
	wakeAt time.Time // zero: not asked for
	inside [][]byte  // packets that came out
	sent   [][]byte  // messages that went out, copies
	failed error
}

type transit struct {
	at      time.Time
	from    netip.AddrPort
	to      *node
	message []byte
}

func simulate(t *testing.T, client, server Config) *simulation {
	s := &simulation{t: t, now: time.Now(), latency: 10 * time.Millisecond}
	s.client = s.node(client, true, aliceAddr)
	s.server = s.node(server, false, serverAddr)
	return s
}

func (s *simulation) node(cfg Config, client bool, addr netip.AddrPort) *node {
	s.t.Helper()
	if cfg.limits.jitter == nil {
		cfg.limits = cfg.Format.limits()
	}
	cfg.limits.jitter = func() float64 { return 0.5 } // none
	full, err := cfg.complete(client)
	require.NoError(s.t, err)
	n := &node{addr: addr}
	table := NewTable(1)
	n.opener = NewOpener(table, full.Drops)
	if client {
		n.Peer = newClient(full, table, waker{n}, s.now)
	} else {
		r := &Responder{full}
		n.Peer = r.NewPeer(table, waker{n}, slog.Default())
		n.server = &oneClient{responder: r, peer: n.Peer}
	}
	return n
}

// waker is the node as its Peer knows it.
type waker struct{ n *node }

func (w waker) Wake(at time.Time)         { w.n.wakeAt = at }
func (w waker) Moved(_, _ netip.AddrPort) {}

// restart replaces a node by a new one.
func (s *simulation) restart(n *node) {
	fresh := s.node(*n.cfg, n.client, n.addr)
	fresh.Peer.owner = waker{n}
	*n = *fresh
}

// run lets time pass.
func (s *simulation) run(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for s.step(end) {
	}
	s.now = end
}

// runUntil lets time pass until a condition holds.
func (s *simulation) runUntil(limit time.Duration, condition func() bool) {
	s.t.Helper()
	end := s.now.Add(limit)
	for !condition() {
		require.True(s.t, s.step(end), "the condition does not hold after %v", limit)
	}
}

// step does the next thing that happens until end, if there is one.
func (s *simulation) step(end time.Time) bool {
	s.t.Helper()
	var next time.Time
	if len(s.inFlight) > 0 {
		next = s.inFlight[0].at
	}
	next = earliest(next, s.client.wakeAt, s.server.wakeAt)
	if next.IsZero() || next.After(end) {
		return false
	}
	if next.After(s.now) {
		s.now = next
	}
	for _, n := range []*node{s.client, s.server} {
		if due(n.wakeAt, s.now) {
			n.wakeAt = time.Time{}
			m, to, err := n.Tick(s.now)
			if n.client {
				to = serverAddr
			}
			s.send(n, m, to)
			if err != nil {
				n.failed = err
			}
			return true
		}
	}
	f := s.inFlight[0]
	s.inFlight = s.inFlight[1:]
	s.deliver(f.to, f.message, f.from)
	return true
}

// deliver gives a message to a node, now.
func (s *simulation) deliver(n *node, m []byte, from netip.AddrPort) {
	in := n.open(m, from, s.now)
	if in.Kind == Packet || in.Kind == Control {
		n.inside = append(n.inside, bytes.Clone(in.Content))
	}
	s.send(n, in.Reply, from)
}

// open gives a copy of a message to the node, and returns what it was. The content
// is valid until the next call.
func (n *node) open(m []byte, from netip.AddrPort, now time.Time) Opened {
	if n.burst == nil {
		n.burst = link.NewBurst()
	}
	b := n.burst
	b.Reset()
	b.Addr = from
	copy(b.Alloc(len(m)), m)
	in := n.opener.Open(b, now)[0]
	if in.Kind == Initiation {
		if n.server == nil {
			n.cfg.Drops.Add(BadMessage)
		} else {
			in.Reply = n.server.answer(in.Content, now)
		}
	}
	return in
}

// send puts a message on its way.
func (s *simulation) send(from *node, m []byte, to netip.AddrPort) {
	if m == nil {
		return
	}
	from.sent = append(from.sent, m)
	delays := []time.Duration{s.latency}
	if s.fate != nil {
		delays = s.fate(from, m)
	}
	for _, n := range []*node{s.client, s.server} {
		if n.addr != to {
			continue
		}
		for _, d := range delays {
			f := transit{s.now.Add(d), from.addr, n, m}
			i, _ := slices.BinarySearchFunc(s.inFlight, f, func(a, b transit) int {
				if a.at.After(b.at) {
					return 1
				}
				return -1 // after those of the same time
			})
			s.inFlight = slices.Insert(s.inFlight, i, f)
		}
	}
}

// write seals a packet and puts it on its way. It reports false if there are no
// keys.
func (s *simulation) write(n *node, packet []byte) bool {
	keys, to := n.Sending(s.now)
	if n.client {
		to = serverAddr
	}
	m := keys.seal(packet)
	s.send(n, m, to)
	return m != nil
}

// seal returns a message with plaintext in it, under a node's current keys.
func (n *node) seal(plaintext []byte) []byte {
	return Keys{keypair: n.keys.Load().current}.seal(plaintext)
}

// connect runs until both sides have keys.
func (s *simulation) connect() {
	s.t.Helper()
	s.runUntil(time.Minute, func() bool { return s.client.Status() != Status{} && s.server.Status() != Status{} })
}

// badNetwork loses, doubles and delays messages, by which their order changes.
func badNetwork(seed uint64, loss float64) func(*node, []byte) []time.Duration {
	r := rand.New(rand.NewPCG(seed, 0))
	delay := func() time.Duration {
		return 10*time.Millisecond + time.Duration(r.Int64N(int64(400*time.Millisecond)))
	}
	return func(*node, []byte) []time.Duration {
		switch {
		case r.Float64() < loss:
			return nil
		case r.Float64() < 0.1:
			return []time.Duration{delay(), delay()}
		}
		return []time.Duration{delay()}
	}
}

func count(messages [][]byte, kind byte) (n int) {
	for _, m := range messages {
		if messageType(m) == kind {
			n++
		}
	}
	return n
}
