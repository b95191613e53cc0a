package hub

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// names returns who is there.
func (w *world) names() (list []string) {
	for _, s := range w.hub.Snapshot() {
		list = append(list, s.Name)
	}
	return list
}

// A client that is revoked is cut off in the middle of its traffic: it is told,
// its keys are gone, its address is free, and it does not get in again.
func TestRevoked(t *testing.T) {
	w := serve(t, nil)
	key := w.add(Account{Name: "bob"})
	alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(key)
	write(t, bob, ip(bob.v4(), web, "x"))
	w.read()

	w.revoke(key.Public())
	w.hub.Cut(key.Public(), secure.Rejected{Reason: "the access of bob was revoked", Final: true})
	require.Equal(t, []string{"alice"}, w.names(), "at once")
	require.Nil(t, w.hub.directory.at(bob.v4()))
	err := bob.fails(t)
	require.EqualError(t, err, "the server has ended the session: the access of bob was revoked")
	require.Equal(t, secure.Rejected{Reason: "the access of bob was revoked", Final: true}, rejected(t, err))
	require.Eventually(t, func() bool { return len(w.gotten()) == 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, Gone{key.Public(), "bob", []netip.Addr{bob.v4(), bob.v6()}, true, ""}, w.gotten()[0])

	_, err = w.try(clientConfig(key))
	require.Equal(t, unknown, rejected(t, err))
	write(t, alice, ip(alice.v4(), web, "y"))
	require.Equal(t, ip(alice.v4(), web, "y"), w.read(), "the other one goes on")
	w.hub.Cut(key.Public(), secure.Rejected{Reason: "twice is fine"})
	w.hub.Cut(noise.PublicKey{}, secure.Rejected{Reason: "so is nobody"})
}

// A client that does not listen is cut off as well: its packets go nowhere.
func TestRevokedAndDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		key := w.add(Account{Name: "bob"})
		bob := w.connect(key)
		address := bob.end.Addr()
		w.Tap(func(_, to netip.AddrPort, _ []byte) bool { return to != address })
		w.revoke(key.Public())
		w.hub.Cut(key.Public(), secure.Rejected{Reason: "revoked", Final: true})
		write(t, bob, ip(bob.v4(), web, "x"))
		w.dropped(secure.UnknownIndex, 1)
		w.Tap(nil)
		// It notices the silence, asks for new keys, and is told.
		require.Equal(t, unknown, rejected(t, bob.fails(t)))
		w.stop()
	})
}

// If an account expires while its client is connected, the client is cut off.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		bob := w.connect(w.add(Account{Name: "bob", Expires: time.Now().Add(time.Hour)}))
		time.Sleep(time.Hour - time.Second)
		require.Equal(t, []string{"bob"}, w.names())
		time.Sleep(2 * time.Second)
		require.Empty(t, w.names())
		require.Equal(t, expired, rejected(t, bob.fails(t)))
		w.stop()
	})
}

// Of two machines with the same identity the newest wins, and the other one is
// told and does not come back. They have the same addresses.
func TestReplaced(t *testing.T) {
	for name, lost := range map[string]bool{"told": false, "told at the door": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := serve(t, nil)
				key := w.add(Account{Name: "alice"})
				old := w.connect(key)
				if lost { // what it is told, it does not hear at first
					address, since := old.end.Addr(), time.Now()
					w.Tap(func(_, to netip.AddrPort, _ []byte) bool { return to != address || time.Since(since) > 3*time.Second })
				}
				newest := w.connect(key)
				require.Equal(t, old.Addrs, newest.Addrs)
				write(t, w.device, ip(web, newest.v4(), "x"))
				require.Equal(t, ip(web, newest.v4(), "x"), newest.receive(t))
				if lost {
					write(t, old, ip(old.v4(), web, "x"))
				}
				require.Equal(t, replaced, rejected(t, old.fails(t)))

				time.Sleep(10 * time.Minute)
				require.Equal(t, []string{"alice"}, w.names(), "no ping-pong")
				require.Empty(t, w.gotten(), "the address was never free")
				write(t, newest, ip(newest.v4(), web, "y"))
				require.Equal(t, ip(newest.v4(), web, "y"), w.read())
				require.LessOrEqual(t, w.hub.table.Len(), 3)
				w.stop()
			})
		})
	}
}

// A client without a sign of life goes, and its address is free. One that is
// silent but there stays.
func TestIdle(t *testing.T) {
	for name, c := range map[string]struct {
		idle  time.Duration
		after time.Duration
	}{"configured": {time.Minute, 90 * time.Second}, "keys end": {0, 5 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := serve(t, func(cfg *Config) { cfg.Idle = c.idle })
				alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))
				bob.end.Close() // without a word
				time.Sleep(30 * time.Second)
				require.Equal(t, []string{"alice", "bob"}, w.names())
				time.Sleep(c.after)
				require.Equal(t, []string{"alice"}, w.names())
				require.Len(t, w.gotten(), 1)
				time.Sleep(time.Hour)
				require.Equal(t, []string{"alice"}, w.names())
				write(t, alice, ip(alice.v4(), web, "x"))
				require.Equal(t, ip(alice.v4(), web, "x"), w.read())
				w.stop()
			})
		})
	}
}

// A client that closes is gone at once.
func TestClientCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		alice := w.connect(w.add(Account{Name: "alice"}))
		alice.Close()
		synctest.Wait()
		require.Empty(t, w.names())
		require.Len(t, w.gotten(), 1)
		require.Zero(t, w.hub.table.Len())
		write(t, w.device, ip(web, alice.v4(), "x"))
		w.dropped(NoClient, 1)
		w.stop()
	})
}

// After a restart of the server all are back within 10 s, with the same
// addresses, whether it could say goodbye or not.
func TestRestart(t *testing.T) {
	for name, said := range map[string]bool{"stopped": true, "crashed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := serve(t, nil)
				machines := []*machine{w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))}
				if !said {
					w.Tap(func(from, _ netip.AddrPort, _ []byte) bool { return from != serverAddr })
				}
				w.stop()
				w.Tap(nil)
				time.Sleep(2 * time.Second)
				w.start(nil)
				for range 10 { // a client finds out when it has something to say
					for _, m := range machines {
						write(t, m, ip(m.v4(), web, "x"))
					}
					time.Sleep(time.Second)
				}
				require.Equal(t, []string{"alice", "bob"}, w.names())
				for _, m := range machines {
					write(t, w.device, ip(web, m.v4(), "y"))
					require.Equal(t, ip(web, m.v4(), "y"), m.receive(t))
				}
				w.stop()
			})
		})
	}
}

// A client may change its address in the network, as a phone does. The server
// follows on the first packet.
func TestRoaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		alice := w.connect(w.add(Account{Name: "alice"}))
		moved := netip.MustParseAddrPort("192.0.2.44:4444")
		alice.end.Move(moved)
		write(t, alice, ip(alice.v4(), web, "x"))
		w.read()
		write(t, w.device, ip(web, alice.v4(), "y"))
		require.Equal(t, ip(web, alice.v4(), "y"), alice.receive(t))
		require.Equal(t, moved, w.hub.Snapshot()[0].Endpoint)
		w.stop()
	})
}

// A client that sends its messages through the tunnel does not become one that is
// reached through the tunnel: its packets would go around in it without end.
func TestNoLoop(t *testing.T) {
	c := gather(t, 1, 64, nil)
	client := c.clients[0]
	for _, inner := range []string{"10.8.0.2:9", "10.8.0.1:5555", "[fd00:8::2]:9"} {
		c.receive(t, netip.MustParseAddrPort(inner), client.seal(nil, client.packet))
		require.Zero(t, c.in.Len())
		require.Equal(t, client.addr, c.hub.Snapshot()[0].Endpoint)
		c.receive(t, netip.MustParseAddrPort(inner), newRaw(2).initiation(t, noise.GenerateKey(), hello{}))
	}
	require.Empty(t, c.hub.handshakes)
	require.Equal(t, "looped 6", c.hub.drops.String())
	outer := netip.MustParseAddrPort("192.0.2.44:4444")
	c.receive(t, outer, client.seal(nil, client.packet))
	require.Equal(t, outer, c.hub.Snapshot()[0].Endpoint)
}

// Rekeys lose no packet, and keep no index, in hours of traffic.
func TestRekey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		alice := w.connect(w.add(Account{Name: "alice"}))
		for range 3600 {
			write(t, alice, ip(alice.v4(), web, "up"))
			require.Equal(t, ip(alice.v4(), web, "up"), w.read())
			write(t, w.device, ip(web, alice.v4(), "down"))
			require.Equal(t, ip(web, alice.v4(), "down"), alice.receive(t))
			time.Sleep(2 * time.Second)
			require.LessOrEqual(t, w.hub.table.Len(), 3)
		}
		require.Equal(t, "none", w.count.Drops.String())
		s := w.hub.Snapshot()[0]
		require.Less(t, time.Since(s.Handshake), 3*time.Minute)
		s.Since, s.Handshake, s.Heard = time.Time{}, time.Time{}, time.Time{}
		require.Equal(t, Status{
			Name: "alice", Key: s.Key, Addrs: []netip.Addr{alice.v4(), alice.v6()}, Endpoint: alice.end.Addr(), LoggedIn: true,
			ReceivedPackets: 3600, ReceivedBytes: 3600 * 22, SentPackets: 3600, SentBytes: 3600 * 24,
		}, s)
		w.stop()
	})
}

// At 20 % loss clients keep their sessions for an hour of rekeys, and the server
// keeps no more indices than their keys have.
func TestBadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		machines := []*machine{w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))}
		w.Tap(func(netip.AddrPort, netip.AddrPort, []byte) bool { return rand.N(5) > 0 })
		go func() { // the server's host
			for b := link.NewBurst(); w.device.ReadBurst(b) == nil; {
			}
		}()
		down := 0
		for range 3600 {
			for _, m := range machines {
				write(t, m, ip(m.v4(), web, "up"))
				write(t, w.device, ip(web, m.v4(), "down"))
			}
			time.Sleep(time.Second)
			for _, m := range machines {
				for ; len(m.in) > 0; down++ {
					<-m.in
				}
			}
			require.LessOrEqual(t, w.hub.table.Len(), 2*3)
		}
		require.Greater(t, w.count.Received.Packets(), uint64(2*3600*7/10))
		require.Greater(t, down, 2*3600*7/10)
		require.Empty(t, w.gotten())
		require.Equal(t, []string{"alice", "bob"}, w.names())
		w.stop()
	})
}

// slow takes its time when clients have left, and counts how often.
type slow struct {
	Admission
	calls *atomic.Int32
}

func (s slow) Left(gone []Gone) {
	s.calls.Add(1)
	time.Sleep(200 * time.Millisecond)
	s.Admission.Left(gone)
}

// Clients that come and go without end keep nobody else from coming, however long
// it takes to clean up behind them.
func TestComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		w := serve(t, func(c *Config) {
			c.Admission = slow{c.Admission, &calls}
		})
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		var crowd sync.WaitGroup
		for range 10 {
			key := w.add(Account{Name: "mallory"})
			crowd.Go(func() {
				for ctx.Err() == nil {
					if m, err := w.try(clientConfig(key)); err == nil {
						m.Close()
					}
				}
			})
		}
		time.Sleep(2 * time.Second)
		before := time.Now()
		w.connect(w.add(Account{Name: "alice"}))
		require.Less(t, time.Since(before), 3*time.Second)
		crowd.Wait()
		require.LessOrEqual(t, calls.Load(), int32(2*5+2))
		time.Sleep(time.Second)
		require.Equal(t, 1, w.holding())
		w.stop()
	})
}

// A client whose farewell crosses its next initiation, which is answered between the end
// of its session and its removal, leaves no keys behind: they would hold their place in
// the table for good.
func TestFarewellCrossesInitiation(t *testing.T) {
	r := newRegistry()
	key := r.add(Account{Name: "alice"})
	c := gather(t, 0, 64, func(cfg *Config) { cfg.Admission = r })
	alice := newRaw(1)
	c.connect(t, alice, key, 64)
	time.Sleep(helloInterval)
	now := time.Now()
	b := link.NewBurst()
	m := alice.seal(nil, []byte{0, 1, 0, 0})
	copy(b.Alloc(len(m)), m)
	in := c.queue.opener.Open(b, now)[0]
	require.Equal(t, secure.Closed, in.Kind)
	k := handshake{via: c.queue, by: c.hub.entrances[0], from: alice.addr}
	k.len = copy(k.message[:], alice.initiation(t, key, hello{Time: uint64(now.UnixNano()), Instance: 2}))
	require.NotNil(t, c.hub.admit(&k, now))
	require.Equal(t, 1, c.hub.table.Len())

	c.hub.hear(in.Peer.Owner().(*client), c.queue, alice.addr, in, now)
	require.Empty(t, c.hub.directory.all(nil))
	require.Zero(t, c.hub.table.Len())
}
