package wireguard

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
)

// These tests run a Client without a network, and without waiting: its servers are in memory, and
// time passes in bubbles of synctest.

// coded is a server's socket: it takes the codes off initiations, and puts them on responses. While
// it is off, nothing passes.
type coded struct {
	link.Link
	client noise.PublicKey
	on     func() bool
	deaf   func() bool // to initiations
}

func (c *coded) ReadBurst(b *link.Burst) error {
	for {
		if err := c.Link.ReadBurst(b); err != nil {
			return err
		}
		if !c.on() {
			continue
		}
		kept := 0
		for i := range b.Len() {
			m := b.At(i)
			if m[0] == 1 {
				if c.deaf() {
					continue
				}
				m = m[:len(m)-cookie.Overhead]
			}
			b.Set(kept, m)
			kept++
		}
		if b.Truncate(kept); kept > 0 {
			return nil
		}
	}
}

func (c *coded) WriteBurst(b *link.Burst) error {
	if !c.on() {
		return nil
	}
	for i := range b.Len() {
		if m := b.At(i); m[0] == 2 {
			b.Set(i, cookie.SignResponse(append([]byte{}, m...), c.client))
		}
	}
	return c.Link.WriteBurst(b)
}

// servers are those of a Client with two peers, and the host that it takes over.
type servers struct {
	client *Client
	key    noise.PrivateKey
	theirs []noise.PrivateKey

	mu      sync.Mutex // guards all below
	off     [2]bool    // this server does not answer
	deaf    bool       // initiations get lost, and all else arrives; and servers send packets
	fails   error      // of Carry
	changes []supervise.Status
	counts
}

// counts say how a Client has used its servers and its host.
type counts struct {
	dialled [2]int // how often a server was asked on a new socket
	carries []netip.AddrPort
	carried int // how many calls of Carry are under way
	most    int // at the same time
}

func (s *servers) now() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

func newServers(t *testing.T) *servers {
	s := &servers{key: noise.GenerateKey(), theirs: []noise.PrivateKey{noise.GenerateKey(), noise.GenerateKey()}}
	f := &conf.File{PrivateKey: s.key}
	var at []config.Endpoint
	for i, key := range s.theirs {
		f.Peers = append(f.Peers, conf.Peer{PublicKey: key.Public(), AllowedIPs: prefixes([]string{"10.1.0.0/16", "10.2.0.0/16"}[i])})
		at = append(at, config.Endpoint{Host: []string{"192.0.2.1", "192.0.2.2"}[i], Port: 51820})
	}
	s.client = NewClient(ClientConfig{
		File: f, Servers: at, Drops: new(link.Drops),
		Dial:  s.dial,
		Carry: s.carry,
		Changed: func(now supervise.Status) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changes = append(s.changes, now)
		},
	})
	return s
}

// run runs the client until the test ends.
func (s *servers) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.client.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

func (s *servers) set(off ...bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.off[:], off)
}

func (s *servers) dial(_ context.Context, server netip.AddrPort) (link.Link, func(), error) {
	i := int(server.Addr().As4()[3]) - 1
	near, far := link.Pipe(64)
	s.mu.Lock()
	s.dialled[i]++
	s.mu.Unlock()
	on := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.off[i]
	}
	deaf := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.deaf
	}
	conn, err := secure.Server(&coded{far, s.key.Public(), on, deaf}, secure.Config{Handshake: Handshake(s.theirs[i], nil, nil), Format: Format, Drops: new(link.Drops)})
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		for b := link.NewBurst(); conn.ReadBurst(b) == nil; {
		}
		close(ended)
		conn.Close()
	}()
	go func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for b := link.NewBurst(); ; {
			select {
			case <-ended:
				return
			case <-tick.C:
				if deaf() {
					b.Reset()
					copy(b.Alloc(24), ip("10.9.0.1", "10.9.0.2", 4, 0)) // from a source that is not its own, so that nobody has to read it
					conn.WriteBurst(b)
				}
			}
		}
	}()
	return near, func() {}, nil
}

func (s *servers) carry(ctx context.Context, server netip.AddrPort, l link.Link, taken func()) error {
	defer l.Close()
	s.mu.Lock()
	s.carries = append(s.carries, server)
	s.carried++
	s.most = max(s.most, s.carried)
	err := s.fails
	s.mu.Unlock()
	defer func() {
		time.Sleep(time.Second) // giving the host back takes a while
		s.mu.Lock()
		s.carried--
		s.mu.Unlock()
	}()
	if err != nil {
		return err
	}
	taken()
	<-ctx.Done()
	return nil
}

// after lets time pass, and returns the states of the two peers and of the whole.
func (s *servers) after(d time.Duration) (states []string) {
	time.Sleep(d)
	synctest.Wait()
	for _, p := range s.client.Report() {
		states = append(states, p.State)
	}
	return append(states, s.client.Status().State.String())
}

// A peer that does not answer does not disturb the other. The host is taken over once, by the
// first session, and given back after the last one; then it is taken over again.
func TestSessionsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		defer s.run(t)()
		require.Equal(t, []string{"up", "up", "up"}, s.after(time.Second))
		require.Len(t, s.now().carries, 1)
		since := s.client.Report()[1].Since

		// The client notices that the first one is gone when its keys are to be renewed.
		s.set(true, false)
		states := s.after(200 * time.Second)
		require.NotEqual(t, "up", states[0])
		require.Equal(t, []string{"up", "degraded"}, states[1:])
		now := s.client.Status()
		require.Contains(t, now.Reason, "1 of 2 peers have no session: ")
		require.NotEmpty(t, now.Cure)
		peers, all := s.client.Report(), s.client.Status()
		require.Equal(t, "192.0.2.2:51820", all.Addr.String(), "the whole has the address of the one that is there")
		require.Equal(t, since, peers[1].Since, "the other session goes on")
		require.Less(t, time.Since(peers[1].Handshake), 121*time.Second, "with new keys")
		require.Len(t, s.now().carries, 1)
		require.Equal(t, 1, s.now().carried)

		s.set(true, true)
		states = s.after(200 * time.Second)
		require.NotContains(t, states, "up")
		require.Zero(t, s.now().carried, "the host is given back")
		asked := s.now().dialled
		s.after(10 * time.Minute)
		for i := range asked {
			require.Greater(t, s.now().dialled[i], asked[i]+8, "it is asked again and again")
			require.Less(t, s.now().dialled[i], asked[i]+40, "but not all the time")
		}

		s.set(false, false)
		require.Equal(t, []string{"up", "up", "up"}, s.after(time.Minute))
		require.Len(t, s.now().carries, 2)
		require.Equal(t, 1, s.now().most, "one after another")
	})
}

// A session whose server is heard goes on until its keys are too old, however many initiations get
// lost meanwhile.
func TestSessionOnBadPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		defer s.run(t)()
		s.after(time.Second)
		since := s.client.Report()[0].Since
		s.mu.Lock()
		s.deaf = true
		s.mu.Unlock()
		require.Equal(t, []string{"up", "up", "up"}, s.after(170*time.Second))
		require.Equal(t, since, s.client.Report()[0].Since)
		require.NotContains(t, s.after(15*time.Second), "up")
		s.mu.Lock()
		s.deaf = false
		s.mu.Unlock()
		require.Equal(t, []string{"up", "up", "up"}, s.after(time.Minute))
	})
}

// What is wrong with the host is said, and so is why it can't be taken over; that ends the sessions.
func TestHostThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		s.fails = errors.New("no device")
		defer s.run(t)()
		s.after(5 * time.Second)
		now := s.client.Status()
		require.ErrorContains(t, now.Err, "no device")
		require.True(t, now.Session.IsZero())
		s.mu.Lock()
		s.fails = nil
		s.mu.Unlock()
		require.Equal(t, []string{"up", "up", "up"}, s.after(2*time.Minute))
		s.client.Judge("names are not found", "do this")
		require.Equal(t, []string{"degraded", "degraded", "degraded"}, s.after(0))
		require.Equal(t, "do this", s.client.Status().Cure)

		// It is also said of the next session.
		s.set(true, true)
		s.after(200 * time.Second)
		s.set(false, false)
		require.Equal(t, "degraded", s.after(time.Minute)[2])
		s.client.Judge("", "")
		require.Equal(t, []string{"up", "up", "up"}, s.after(0))
		require.Equal(t, 1, s.now().most, "one after another")
	})
}

// A session that begins while the host is being given back waits for that, and takes it over again.
func TestHostIsTakenOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		one, two := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")
		first, err := s.client.enter(t.Context(), one)
		require.NoError(t, err)
		var leaving sync.WaitGroup
		leaving.Go(func() { s.client.leave(first) })
		synctest.Wait()
		require.Equal(t, 1, s.now().carried, "it takes a while")
		second, err := s.client.enter(t.Context(), two)
		require.NoError(t, err)
		require.NotSame(t, first, second)
		require.Equal(t, []netip.AddrPort{one, two}, s.now().carries)
		require.Equal(t, 1, s.now().most, "one after another")
		leaving.Wait()
		s.client.leave(second)
		require.Zero(t, s.now().carried)
	})
}

// A status is passed on once.
func TestChangesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t)
		defer s.run(t)()
		s.after(time.Minute)
		s.client.Judge("", "")
		s.client.NetworkChanged() // without a route to compare, it ends all sessions
		s.after(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.changes[1:] {
			require.NotEqual(t, s.changes[i], s.changes[i+1])
		}
		require.Equal(t, status.Up, s.changes[len(s.changes)-1].State.String())
		require.Greater(t, s.dialled[0], 1)
		require.Greater(t, s.dialled[1], 1)
	})
}

// Initiations of one session are later than all of the last one, also when the clock is set back.
func TestTimestampsGoOn(t *testing.T) {
	next := sessionConfig(&conf.File{PrivateKey: noise.GenerateKey()}, conf.Peer{}, new(link.Drops)).Format.NextTime
	first := next(0, uint64(time.Hour))
	again := next(0, uint64(time.Minute))
	require.Greater(t, again, first)
	require.Greater(t, next(again, 0), again)
	require.Equal(t, Format.NextTime(0, uint64(2*time.Hour)), next(0, uint64(2*time.Hour)))
}
