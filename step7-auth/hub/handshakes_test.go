package hub

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
)

// A client that is not let in is told why in a sentence, and the server keeps nothing.
func TestRefusals(t *testing.T) {
	w := serve(t, func(c *Config) { c.MaxClients = 2 })
	w.connect(w.add(Account{Name: "alice"}))

	refusal := func(key noise.PrivateKey) secure.Rejected {
		t.Helper()
		_, err := w.try(clientConfig(key))
		require.ErrorContains(t, err, "connecting: the server refuses: ")
		return rejected(t, err)
	}
	require.Equal(t, unknown, refusal(noise.GenerateKey()))
	require.Equal(t, expired, refusal(w.add(Account{Name: "old", Expires: time.Now()})))
	require.Len(t, w.hub.Snapshot(), 1)

	w.registry.room = 0
	require.Equal(t, noAddress, refusal(w.add(Account{Name: "late"})))
	w.registry.room = 1
	w.connect(w.add(Account{Name: "bob", Expires: time.Now().Add(time.Hour)}))
	require.Equal(t, full, refusal(w.add(Account{Name: "carol"})))
	w.dropped(Refused, 4)
	require.Equal(t, "refused 4", w.count.Drops.String())
	require.Empty(t, w.gotten())
}

// A sender that does not know the server's public key gets no answer at all.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		var answers atomic.Int32
		w.Tap(func(from, _ netip.AddrPort, _ []byte) bool {
			if from == serverAddr {
				answers.Add(1)
			}
			return true
		})
		cfg := clientConfig(w.add(Account{Name: "mallory"})) // though it is known
		wrong := noise.GenerateKey().Public()
		cfg.Handshake.PeerStatic = &wrong
		_, err := w.try(cfg)
		require.ErrorContains(t, err, "no answer from the server after 6 tries")

		for _, m := range [][]byte{nil, {1}, {1, 0, 0, 0}, make([]byte, 148), append([]byte{1, 0, 0, 0}, make([]byte, 117)...), append([]byte{1, 0, 0, 0}, make([]byte, 900)...), {2, 0, 0, 0}, {3, 0, 0, 0, 1}} {
			w.Inject(netip.MustParseAddrPort("198.51.100.66:6"), serverAddr, m)
		}
		synctest.Wait()
		require.Zero(t, answers.Load())
		w.connect(w.add(Account{Name: "alice"}))
		require.NotZero(t, answers.Load(), "the detector")
		w.stop()
	})
}

// A server with a pre-shared key does not let in a client that lacks it, though the client
// is known.
func TestPSK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		psk, other := [32]byte{1}, [32]byte{2}
		w := serve(t, func(c *Config) { c.Handshake.Pattern, c.Handshake.PSK = noise.IKpsk2, &psk })
		cfg := clientConfig(w.add(Account{Name: "alice"}))
		cfg.Handshake.Pattern, cfg.Handshake.PSK = noise.IKpsk2, &other
		_, err := w.try(cfg)
		require.ErrorContains(t, err, "can't be read: the pre-shared key is not the one")
		require.Empty(t, w.hub.Snapshot())
		cfg.Handshake.PSK = &psk
		_, err = w.try(cfg)
		require.NoError(t, err)
		w.stop()
	})
}

// One client may have a pre-shared key of its own, whatever the others have. A client
// that comes with another one or none is refused, and so is a client that needs none and has
// one.
func TestOwnPSK(t *testing.T) {
	for name, common := range map[string]*[32]byte{"others have none": nil, "others have a common one": {1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				own, wrong := [32]byte{2}, [32]byte{3}
				w := serve(t, func(c *Config) {
					other := c.Handshake
					if common != nil {
						c.Handshake.Pattern, c.Handshake.PSK = noise.IKpsk2, common
					} else {
						other.Pattern, other.PSK = noise.IKpsk2, new([32]byte)
					}
					c.Other = &other
				})
				alice := w.add(Account{Name: "alice", OwnPSK: true, PSK: &own})
				bob := w.add(Account{Name: "bob"})
				carol := w.add(Account{Name: "carol", OwnPSK: true}) // the server has lost it
				try := func(key noise.PrivateKey, psk *[32]byte) error {
					cfg := clientConfig(key)
					if psk != nil {
						cfg.Handshake.Pattern, cfg.Handshake.PSK = noise.IKpsk2, psk
					}
					_, err := w.try(cfg)
					return err
				}
				const unread = "can't be read: the pre-shared key is not the one"
				require.NoError(t, try(alice, &own))
				w.hub.Cut(alice.Public(), secure.Rejected{})
				require.NoError(t, try(bob, common))
				require.ErrorContains(t, try(alice, &wrong), unread)
				require.Equal(t, needsPSK, rejected(t, try(alice, nil)))
				require.ErrorContains(t, try(bob, &own), unread)
				require.Equal(t, lostPSK.Reason, rejected(t, try(carol, nil)).Reason)
				require.Error(t, try(carol, &[32]byte{}), "the key that stands for all has no power")
				require.Error(t, try(bob, &[32]byte{}))
				if common != nil {
					require.ErrorContains(t, try(alice, common), unread)
					require.Equal(t, needsPSK, rejected(t, try(bob, nil)))
				}
				require.NoError(t, try(alice, &own))
				w.stop()
			})
		})
	}
}

// record returns a function for the initiations that the network has seen since.
func (w *world) record() (recorded func() [][]byte) {
	var mu sync.Mutex
	var list [][]byte
	w.Tap(func(_, to netip.AddrPort, m []byte) bool {
		if to == serverAddr && m[0] == 1 {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, slices.Clone(m))
		}
		return true
	})
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// A recorded initiation is dropped while the server knows a newer one. After a
// restart it gets an answer, which leads nowhere: neither does it disturb the
// client nor keep an address.
func TestReplayedInitiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eve := netip.MustParseAddrPort("198.51.100.66:6")
		w := serve(t, nil)
		recorded := w.record()
		key := w.add(Account{Name: "alice"})
		alice := w.connect(key)
		require.Len(t, recorded(), 1)
		replay := recorded()[0]

		w.Inject(eve, serverAddr, replay)
		w.dropped(secure.Replayed, 1)
		alice.Close()
		w.Inject(eve, serverAddr, replay)
		w.dropped(secure.Replayed, 2)
		synctest.Wait()
		require.Len(t, w.gotten(), 1)

		w.stop()
		w.start(nil)
		w.Inject(eve, serverAddr, replay)
		synctest.Wait()
		require.Empty(t, w.hub.Snapshot())
		require.Equal(t, 1, w.hub.directory.size, "it is let in, and not there")
		require.Equal(t, 1, w.holding())
		w.Inject(eve, serverAddr, replay)
		w.dropped(secure.Replayed, 1)
		time.Sleep(pendingFor + clockInterval)
		synctest.Wait()
		require.Zero(t, w.hub.directory.size)
		require.Zero(t, w.holding())
		require.True(t, w.gotten()[0].In)
		require.False(t, w.gotten()[1].In, "it has only asked")
		require.Equal(t, 0, w.hub.table.Len(), "no session is left")

		// In between, alice comes: the pending client gives way.
		w.Inject(eve, serverAddr, recorded()[0])
		again := w.connect(key)
		write(t, again, ip(again.v4(), web, "x"))
		require.Equal(t, ip(again.v4(), web, "x"), w.read())
		w.stop()
	})
}

// A machine that starts anew with its clock set back is told so, and gets in with
// its next try. A copy of an old initiation leads nowhere, as ever.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		recorded := w.record()
		key := w.add(Account{Name: "alice"})
		ahead := newRaw(1)
		eve := w.Attach(ahead.addr, serverAddr)
		write(t, eve, ahead.initiation(t, key, hello{Time: uint64(time.Now().Add(time.Hour).UnixNano()), Instance: 1}))
		answer := link.NewBurst()
		require.NoError(t, eve.ReadBurst(answer))
		write(t, eve, ahead.response(t, answer.At(0), 64))
		synctest.Wait()
		require.Len(t, w.hub.Snapshot(), 1)
		time.Sleep(time.Second)

		before := time.Now()
		alice := w.connect(key)
		require.Less(t, time.Since(before), time.Second)
		require.EqualValues(t, 1, w.count.Drops.Count(secure.Replayed))
		time.Sleep(time.Hour + 30*time.Second) // new keys with that clock
		write(t, alice, ip(alice.v4(), web, "x"))
		require.Equal(t, ip(alice.v4(), web, "x"), w.read())
		require.EqualValues(t, 1, w.count.Drops.Count(secure.Replayed))

		handshake := w.hub.Snapshot()[0].Handshake
		copies := recorded()
		for _, m := range copies {
			w.Inject(netip.MustParseAddrPort("198.51.100.66:6"), serverAddr, m)
		}
		synctest.Wait()
		require.EqualValues(t, 1+len(copies), w.count.Drops.Count(secure.Replayed))
		require.Equal(t, handshake, w.hub.Snapshot()[0].Handshake)
		require.Equal(t, alice.end.Addr(), w.hub.Snapshot()[0].Endpoint)
		w.stop()
	})
}

// So is a program whose clock is set back between two of its sessions, when the server
// still has the first.
func TestClockSetBackBetweenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		key := w.add(Account{Name: "alice"})
		cfg := clientConfig(key)
		cfg.Instance = [8]byte{7: 1}
		first, b := newRaw(1), link.NewBurst()
		end := w.Attach(first.addr, serverAddr)
		write(t, end, first.initiation(t, key, hello{Time: uint64(time.Now().Add(time.Hour).UnixNano()), Instance: 1}))
		require.NoError(t, end.ReadBurst(b))
		write(t, end, first.response(t, b.At(0), 64))
		synctest.Wait()
		require.Len(t, w.hub.Snapshot(), 1)
		time.Sleep(time.Second)

		before := time.Now()
		alice, err := w.try(cfg)
		require.NoError(t, err)
		require.Less(t, time.Since(before), time.Second)
		require.Equal(t, alice.end.Addr(), w.hub.Snapshot()[0].Endpoint)
		w.stop()
	})
}

// One client that asks without end gets a bounded number of answers, and the
// others get in.
func TestOneClientAsksWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		mallory, flood := w.add(Account{Name: "mallory"}), newRaw(1)
		for i := range 1000 {
			m := flood.initiation(t, mallory, hello{Time: uint64(time.Now().UnixNano()), Instance: uint64(i)})
			w.Inject(flood.addr, serverAddr, m)
			time.Sleep(2 * time.Millisecond)
		}
		synctest.Wait()
		require.GreaterOrEqual(t, w.count.Drops.Count(cookie.Throttled), uint64(1000-2*20-5))
		before := time.Now()
		w.connect(w.add(Account{Name: "alice"}))
		require.Less(t, time.Since(before), time.Second)
		w.stop()
	})
}

// A client that speaks the version before is told so in its own words, and the log
// says which one it is. Nothing else changes.
func TestOlderVersion(t *testing.T) {
	lines := new(strings.Builder)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(lines, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	c := gather(t, 0, 64, nil)
	r := newRegistry()
	c.hub.cfg.Admission = r
	key, server := r.add(Account{Name: "alice"}), serverKey.Public()
	h, err := noise.New(noise.Config{
		Suite: noise.AESGCMSHA256, Pattern: noise.IK, Initiator: true, Prologue: []byte("stepvpn secure 2"),
		Static: &key, PeerStatic: &server,
	})
	require.NoError(t, err)
	m, err := h.WriteMessage([]byte{1, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 17))
	require.NoError(t, err)
	k := handshake{via: c.queue, by: c.hub.entrances[0], len: len(m)}
	copy(k.message[:], m)
	answer := c.hub.admit(&k, time.Now())
	require.Equal(t, []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, answer[:12])
	payload, err := h.ReadMessage(nil, answer[12:])
	require.NoError(t, err)
	require.Equal(t, "\x01\x03"+secure.Update, string(payload))
	require.Contains(t, lines.String(), "client=alice")
	require.Contains(t, lines.String(), "older version of the protocol")
	require.EqualValues(t, 1, c.hub.drops.Count(Refused))
	require.Empty(t, c.hub.directory.byKey)
	require.Zero(t, c.hub.table.Len())
}
