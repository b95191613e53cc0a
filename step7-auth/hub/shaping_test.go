package hub

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

// A holder is a Shaper that keeps all packets until they are let go, or lets them pass.
type holder struct {
	*Held
	down, up link.Link // the ends that packets are given to
	hold     atomic.Bool

	mu   sync.Mutex // guards all below
	kept map[link.Link][][]byte

	dropped atomic.Uint64
}

func newHolder() *holder {
	s := &holder{Held: new(Held), kept: make(map[link.Link][][]byte)}
	s.down, s.ToClients = link.Pipe(64)
	s.up, s.FromClients = link.Pipe(64)
	s.hold.Store(true)
	return s
}

func (s *holder) keep(to link.Link, p []byte) bool {
	if !s.hold.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[to] = append(s.kept[to], append([]byte(nil), p...))
	return false
}

func (s *holder) Send(p []byte, _ link.Hints) bool    { return s.keep(s.down, p) }
func (s *holder) Receive(p []byte, _ link.Hints) bool { return s.keep(s.up, p) }

func (s *holder) Dropped() uint64 { return s.dropped.Load() }

// letGo hands back what was kept in one direction, which must be n packets.
func (s *holder) letGo(t *testing.T, to link.Link, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.kept[to]) == n
	}, 20*time.Second, time.Millisecond)
	s.mu.Lock()
	packets := s.kept[to]
	s.kept[to] = nil
	s.mu.Unlock()
	write(t, to, packets...)
}

// What a Shaper keeps goes on when it is handed back, in both directions and from one client to
// another, and is counted then. Clients without one are not concerned.
func TestShaper(t *testing.T) {
	s := newHolder()
	s.dropped.Store(7) // in an earlier session
	w := serve(t, func(c *Config) { c.Held, c.ClientToClient = s.Held, true })
	alice, bob := w.connect(w.add(Account{Name: "alice", Shaper: s})), w.connect(w.add(Account{Name: "bob"}))
	sent := func() (down, up uint64) {
		for _, c := range w.hub.Snapshot() {
			if c.Name == "alice" {
				down, up = c.SentPackets, c.ReceivedPackets
			}
		}
		return down, up
	}
	counts := func(down, up uint64) {
		t.Helper()
		require.Eventually(t, func() bool { d, u := sent(); return d == down && u == up }, 20*time.Second, time.Millisecond)
	}

	up, down := ip(alice.v4(), web, "up"), ip(web6, alice.v6(), "down")
	write(t, alice, up)
	write(t, w.device, down, ip(web, bob.v4(), "bob's"))
	require.Equal(t, ip(web, bob.v4(), "bob's"), bob.receive(t))
	counts(0, 0)
	s.letGo(t, s.up, 1)
	require.Equal(t, up, w.read())
	s.letGo(t, s.down, 1)
	require.Equal(t, down, alice.receive(t))
	counts(1, 1)

	s.dropped.Add(3)
	for _, c := range w.hub.Snapshot() {
		require.EqualValues(t, map[string]int{"alice": 3, "bob": 0}[c.Name], c.Dropped)
	}

	// From alice to bob, and back: that is asked about once, as alice's.
	write(t, alice, ip(alice.v4(), bob.v4(), "hello"))
	s.letGo(t, s.up, 1)
	require.Equal(t, ip(alice.v4(), bob.v4(), "hello"), bob.receive(t))
	write(t, bob, ip(bob.v4(), alice.v4(), "hi"))
	s.letGo(t, s.down, 1)
	require.Equal(t, ip(bob.v4(), alice.v4(), "hi"), alice.receive(t))

	// Spoofed packets are dropped before anybody is asked about them.
	write(t, alice, ip(bob.v4(), web, "spoofed"))
	w.dropped(Spoofed, 1)

	s.hold.Store(false)
	write(t, alice, up)
	require.Equal(t, up, w.read())
	write(t, w.device, down)
	require.Equal(t, down, alice.receive(t))
	counts(3, 3)

	// Packets of a client that has left meanwhile go nowhere.
	s.hold.Store(true)
	write(t, alice, up)
	write(t, w.device, down)
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.kept[s.up])+len(s.kept[s.down]) == 2
	}, 20*time.Second, time.Millisecond)
	alice.Close()
	require.Eventually(t, func() bool { return len(w.hub.Snapshot()) == 1 }, 20*time.Second, time.Millisecond)
	s.letGo(t, s.up, 1)
	s.letGo(t, s.down, 1)
	w.dropped(NoClient, 2)
}

// An account that may not come in now is refused with its reason.
func TestRefusedAccount(t *testing.T) {
	w := serve(t, nil)
	why := &secure.Rejected{Reason: "come back tomorrow", Final: true}
	_, err := w.try(clientConfig(w.add(Account{Name: "alice", Refused: why})))
	require.Equal(t, *why, rejected(t, err))
	w.connect(w.add(Account{Name: "bob"}))
}

// Tell reaches a client that is there.
func TestTell(t *testing.T) {
	w := serve(t, nil)
	key := w.add(Account{Name: "alice"})
	heard := make(chan string, 1)
	cfg := clientConfig(key)
	cfg.OnControl = func(kind byte, content []byte) error {
		heard <- string(append([]byte{kind}, content...))
		return nil
	}
	_, err := w.try(cfg)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(w.hub.Snapshot()) == 1 && w.hub.Snapshot()[0].LoggedIn }, 20*time.Second, time.Millisecond)
	w.hub.Tell(key.Public(), 77, []byte("hello"))
	select {
	case m := <-heard:
		require.Equal(t, "Mhello", m)
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was heard")
	}
	w.hub.Tell(w.add(Account{Name: "bob"}).Public(), 77, nil) // who is not there
}
