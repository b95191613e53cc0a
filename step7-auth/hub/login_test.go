package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/join"
	"stepvpn/step7-auth/protocol"
)

// A doorbell checks passwords: slowly, and only "right" is right.
type doorbell struct {
	Admission
	checks atomic.Int32
	takes  time.Duration
}

func (d *doorbell) Login(ctx context.Context, _ noise.PublicKey, _ Source, user, password string) error {
	d.checks.Add(1)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d.takes):
	}
	switch {
	case user == "alice" && password == "right":
		return nil
	case password == "busy":
		return errors.New("try again in a moment")
	}
	return &secure.Rejected{Reason: "wrong user name or password", Final: true}
}

func serveLogin(t *testing.T, takes time.Duration) (*world, *doorbell) {
	d := &doorbell{takes: takes}
	return serve(t, d.in), d
}

// in has a server use d.
func (d *doorbell) in(c *Config) { d.Admission, c.Admission = c.Admission, d }

func (w *world) login(key noise.PrivateKey, user, password string) (*machine, error) {
	cfg := clientConfig(key)
	cfg.User, cfg.Password = user, password
	return w.try(cfg)
}

// Nothing passes before the password was right, however long its check takes.
// The client says it again meanwhile, and it is checked once.
func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, 5*time.Second)
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		addr := netip.MustParseAddr("10.8.0.2")
		passed := make(chan bool)
		go func() { // while the check goes on
			time.Sleep(2500 * time.Millisecond)
			c := w.hub.directory.at(addr)
			write(t, w.device, ip(web, addr, "too early"))
			synctest.Wait()
			_, why, ok := w.hub.destination(c, ip(addr, web, "too early"))
			w.hub.drops.Add(why)
			passed <- ok
		}()
		before := time.Now()
		done := make(chan *machine)
		go func() {
			m, err := w.login(key, "alice", "right")
			require.NoError(t, err)
			done <- m
		}()
		require.False(t, <-passed)
		alice := <-done
		require.Equal(t, 5*time.Second, time.Since(before))
		require.EqualValues(t, 1, d.checks.Load())
		require.EqualValues(t, 2, w.count.Drops.Count(NotLoggedIn))

		write(t, alice, ip(alice.v4(), web, "x"))
		require.Equal(t, ip(alice.v4(), web, "x"), w.read())
		write(t, w.device, ip(web, alice.v4(), "y"))
		require.Equal(t, ip(web, alice.v4(), "y"), alice.receive(t))

		// New keys need no new login, but a server that has forgotten does.
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 1, d.checks.Load())
		w.stop()
		w.start(d.in)
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, d.checks.Load())
		write(t, alice, ip(alice.v4(), web, "z"))
		require.Equal(t, ip(alice.v4(), web, "z"), w.read())
		w.stop()
	})
}

// Messages get lost: the client repeats its login, and the server its result.
func TestLoginOnBadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, 100*time.Millisecond)
		w.Tap(func(netip.AddrPort, netip.AddrPort, []byte) bool { return rand.N(10) > 0 }) // with one of 4 lost, one client of 1,000 is cut off for it
		cfg := clientConfig(w.add(Account{Name: "alice", NeedsPassword: true}))
		cfg.User, cfg.Password, cfg.Tries = "alice", "right", 1000
		_, err := w.try(cfg)
		require.NoError(t, err)
		require.EqualValues(t, 1, d.checks.Load())
		w.stop()
	})
}

func TestLoginRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, time.Second)
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		_, err := w.login(key, "alice", "wrong")
		require.EqualError(t, err, "logging in: the server refuses: wrong user name or password")
		require.True(t, rejected(t, err).Final)
		_, err = w.login(key, "alice", "busy")
		require.Equal(t, secure.Rejected{Reason: "try again in a moment"}, rejected(t, err))
		require.EqualValues(t, 2, d.checks.Load())
		_, err = w.login(key, "", "")
		require.EqualError(t, err, "connecting: the server's answer is refused: the server asks for a user name and a password")
		_, err = w.login(key, "alice", string(make([]byte, 256)))
		require.EqualError(t, err, "a user name has 1 to 64 bytes, and a password 1 to 255")
		time.Sleep(pendingFor + time.Second)
		require.Empty(t, w.names(), "and nobody stays")
		require.Zero(t, w.holding())
		w.stop()
	})
}

// A client that never logs in is cut off, and so is one that guesses.
func TestNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, time.Second)
		raw := func(key noise.PrivateKey) *secure.Conn {
			j := clientConfig(key)
			conn, err := secure.Client(t.Context(), w.endpoint(), secure.Config{
				Handshake: j.Handshake,
				Payload:   protocol.Hello{Instance: 1}.Append(nil),
				OnControl: func(byte, []byte) error { return nil },
				Drops:     j.Drops,
			})
			require.NoError(t, err)
			return conn
		}
		never := raw(w.add(Account{Name: "alice", NeedsPassword: true}))
		ended := never.ReadUntil(func() bool { return false })
		require.Equal(t, noLogin, rejected(t, ended))
		never.Close()

		guesser := raw(w.add(Account{Name: "bob", NeedsPassword: true}))
		go func() {
			for i := range byte(10) {
				guesser.Control(protocol.KindLogin, protocol.Login{Attempt: i, User: "alice", Password: "guess"}.Append(nil))
				time.Sleep(2 * time.Second)
			}
		}()
		ended = guesser.ReadUntil(func() bool { return false })
		require.Equal(t, tooManyLogins, rejected(t, ended))
		require.EqualValues(t, maxLogins, d.checks.Load())
		time.Sleep(time.Minute)
		guesser.Close()

		// A message that is no login at all is counted.
		odd := raw(w.add(Account{Name: "carol", NeedsPassword: true}))
		odd.Control(protocol.KindLogin, []byte("not a login"))
		odd.Control(9, nil)
		synctest.Wait()
		require.EqualValues(t, 2, w.count.Drops.Count(link.Malformed))
		odd.Close()
		w.stop()
	})
}

// A client that goes while its password is checked does the server no harm.
func TestLoginAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, time.Second)
		w.connect(w.add(Account{Name: "bob"}))
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		for range 3 {
			cfg := clientConfig(key)
			cfg.User, cfg.Password = "alice", "right"
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_, err := join.Client(ctx, w.endpoint(), cfg)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			time.Sleep(2 * time.Second)
		}
		require.EqualValues(t, 3, d.checks.Load())
		require.Equal(t, []string{"bob"}, w.names())
		w.stop()
	})
}

// A thief who has the key and not the password does not push the owner out. A thief who has
// both does.
func TestLoginBeforeReplacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := serveLogin(t, time.Second)
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		alice, err := w.login(key, "alice", "right")
		require.NoError(t, err)
		works := func(m *machine) {
			t.Helper()
			write(t, m, ip(m.v4(), web, "x"))
			require.Equal(t, ip(m.v4(), web, "x"), w.read())
			write(t, w.device, ip(web, m.v4(), "y"))
			require.Equal(t, ip(web, m.v4(), "y"), m.receive(t))
		}
		thief := func(password string) {
			cfg, end := clientConfig(key), w.endpoint()
			cfg.User, cfg.Password = "alice", password
			go join.Client(t.Context(), end, cfg) // which fails
			time.Sleep(500 * time.Millisecond)
		}
		thief("guess")
		require.Equal(t, []string{"alice", "alice"}, w.names(), "the thief is there")
		works(alice)
		time.Sleep(loginWithin)
		require.Equal(t, []string{"alice"}, w.names())
		works(alice)
		require.Empty(t, w.gotten())

		// Of several clients that have still to log in, too, the newest one stays.
		thief("busy")
		newest, err := w.login(key, "alice", "right")
		require.NoError(t, err)
		works(newest)
		require.Equal(t, replaced, rejected(t, alice.fails(t)))
		time.Sleep(10 * time.Minute)
		works(newest)
		require.Equal(t, []string{"alice"}, w.names())
		require.Empty(t, w.gotten(), "the address was never free")
		require.LessOrEqual(t, w.hub.table.Len(), 3)
		w.stop()
	})
}

// Not even by asking without end, ahead of time, does a stolen key alone keep its
// owner from new keys. Copies of the owner's own initiations do not either.
func TestStolenKeyAsksWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := serveLogin(t, time.Second)
		recorded := w.record()
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		alice, err := w.login(key, "alice", "right")
		require.NoError(t, err)
		thief, alices := newRaw(1), recorded()
		for i := range 5 * 60 * 5 {
			hello := hello{Time: uint64(time.Now().Add(time.Hour).UnixNano()), Instance: uint64(i)}
			w.Inject(thief.addr, serverAddr, thief.initiation(t, key, hello))
			if i%100 == 0 {
				for _, m := range alices {
					w.Inject(thief.addr, serverAddr, m)
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
		require.Equal(t, []string{"alice"}, w.names())
		require.Less(t, time.Since(w.hub.Snapshot()[0].Handshake), 3*time.Minute)
		write(t, alice, ip(alice.v4(), web, "x"))
		require.Equal(t, ip(alice.v4(), web, "x"), w.read())
		require.LessOrEqual(t, w.hub.table.Len(), 8+maxPending)
		w.stop()
	})
}

// A client that gets a password while it is there has to log in from its next
// keys on.
func TestPasswordIsAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, time.Second)
		key, thief := w.add(Account{Name: "alice"}), w.add(Account{Name: "bob"})
		alice, err := w.login(key, "alice", "right")
		require.NoError(t, err)
		stolen := w.connect(thief)
		require.Zero(t, d.checks.Load())
		w.registry.mu.Lock()
		for key, a := range w.registry.accounts {
			a.NeedsPassword = true
			w.registry.accounts[key] = a
		}
		w.registry.mu.Unlock()
		time.Sleep(3 * time.Minute)
		require.Equal(t, []string{"alice"}, w.names())
		require.ErrorContains(t, stolen.fails(t), "the server asks for a user name and a password")
		require.EqualValues(t, 1, d.checks.Load())
		write(t, alice, ip(alice.v4(), web, "x"))
		require.Equal(t, ip(alice.v4(), web, "x"), w.read())
		w.stop()
	})
}

// A hundred clients that log in at once have their passwords checked two at a
// time; the others wait or say it again, and packets go on.
func TestManyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := serveLogin(t, 100*time.Millisecond)
		bob := w.connect(w.add(Account{Name: "bob"}))
		results := make(chan error)
		for range 100 {
			key := w.add(Account{Name: "alice", NeedsPassword: true})
			cfg := clientConfig(key)
			cfg.User, cfg.Password = "alice", "right"
			end := w.endpoint()
			go func() {
				s, err := join.Client(t.Context(), end, cfg)
				if err == nil {
					t.Cleanup(func() { s.Close() })
				}
				results <- err
			}()
		}
		time.Sleep(time.Second)
		require.LessOrEqual(t, d.checks.Load(), int32(2*11))
		write(t, bob, ip(bob.v4(), web, "x"))
		require.Equal(t, ip(bob.v4(), web, "x"), w.read())
		for range 100 {
			require.NoError(t, <-results)
		}
		require.EqualValues(t, 100, d.checks.Load())
		w.stop()
	})
}
