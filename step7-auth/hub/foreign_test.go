package hub

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
)

// A visa is a Foreign: it remembers the newest times, and marks responses with the end of the
// client's key.
type visa struct {
	mu     sync.Mutex
	newest map[noise.PublicKey]uint64
}

var visaFormat = &secure.Format{
	Prologue:   "another program",
	AppendTime: binary.BigEndian.AppendUint64,
	ParseTime: func(m []byte) (uint64, bool) {
		if len(m) != 8 {
			return 0, false
		}
		return binary.BigEndian.Uint64(m), true
	},
	NextTime:       func(before, now uint64) uint64 { return max(before+1, now) },
	RekeyAfterTime: 120 * time.Second, RekeyAfterPackets: 1 << 60, RejectAfterCount: 1 << 62,
	ReplyWithin: 10 * time.Second, SilenceLimit: 15 * time.Second, Retry: time.Second,
}

func (v *visa) Format() *secure.Format { return visaFormat }

func (v *visa) Newest(key noise.PublicKey) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.newest[key]
}

func (v *visa) Note(key noise.PublicKey, time uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.newest[key] = time
}

func (v *visa) Sign(response []byte, key noise.PublicKey) []byte {
	return cookie.SignResponse(response, key)
}

var foreignKey = noise.GenerateKey()

// withForeign gives a server an entrance for foreign clients.
func withForeign(v *visa) func(*Config) {
	return func(c *Config) {
		own := cookie.NewServer(serverKey.Public(), &c.Count.Drops)
		other := own.WithKey(foreignKey.Public())
		c.Check = own.Check
		c.Entrances = []Entrance{{
			Name:      "foreign",
			Handshake: noise.Config{Suite: noise.ChaChaPolyBLAKE2s, Pattern: noise.IKpsk2, Static: &foreignKey, PSK: new([noise.KeyLen]byte)},
			Check:     other.Check, Meant: other.Meant, Foreign: v,
		}}
	}
}

// come has a foreign client come in; its tries are limited, as it is not told if it may not.
func (w *world) come(t *testing.T, key noise.PrivateKey, psk *[noise.KeyLen]byte, tries int) (*secure.Conn, error) {
	return w.comeBy(t, w.endpoint(), key, psk, tries)
}

func (w *world) comeBy(t *testing.T, lower link.Link, key noise.PrivateKey, psk *[noise.KeyLen]byte, tries int) (*secure.Conn, error) {
	if psk == nil {
		psk = new([noise.KeyLen]byte)
	}
	drops, public := new(link.Drops), foreignKey.Public()
	c, err := secure.Client(t.Context(), cookie.ClientBothWays(lower, public, key.Public(), drops), secure.Config{
		Handshake: noise.Config{Suite: noise.ChaChaPolyBLAKE2s, Pattern: noise.IKpsk2, Static: &key, PeerStatic: &public, PSK: psk},
		Format:    visaFormat, Drops: drops, Tries: tries,
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

var aliceV4 = netip.MustParseAddr("10.8.0.2") // the first address that a registry leases

// A foreign client is in, its source is checked, and it gets what is for it. It is told nothing,
// and its time is remembered.
func TestForeign(t *testing.T) {
	v := &visa{newest: make(map[noise.PublicKey]uint64)}
	w := serve(t, withForeign(v))
	psk := &[noise.KeyLen]byte{5}
	key := w.add(Account{Name: "alice", FixedAddrs: true, OwnPSK: true, PSK: psk})
	c, err := w.come(t, key, psk, 1)
	require.NoError(t, err)
	write(t, c, ip(netip.MustParseAddr("10.8.0.3"), web, "not mine"), ip(aliceV4, web, "mine"))
	require.Equal(t, ip(aliceV4, web, "mine"), w.read())
	w.dropped(Spoofed, 1)
	write(t, w.device, ip(web, aliceV4, "down"))
	b := link.NewBurst()
	require.NoError(t, c.ReadBurst(b))
	require.Equal(t, ip(web, aliceV4, "down"), b.At(0))
	there := w.hub.Snapshot()
	require.Len(t, there, 1)
	require.Equal(t, "foreign", there[0].By)
	require.InDelta(t, float64(time.Now().UnixNano()), float64(v.Newest(key.Public())), float64(time.Minute))

	w.revoke(key.Public())
	w.hub.Cut(key.Public(), unknown)
	require.Empty(t, w.hub.Snapshot())
	require.Zero(t, w.hub.table.Len())
}

// Who may not come in is not answered, and the log says so once.
func TestForeignRefused(t *testing.T) {
	var mu sync.Mutex
	var lines bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(locked{&mu, &lines}, nil)))
	defer slog.SetDefault(before)
	w := serve(t, withForeign(&visa{newest: make(map[noise.PublicKey]uint64)}))
	for why, key := range map[string]noise.PrivateKey{
		unknown.Reason:    noise.GenerateKey(),
		loginHere.Reason:  w.add(Account{Name: "a", FixedAddrs: true, NeedsPassword: true}),
		nothingOwn.Reason: w.add(Account{Name: "b"}),
		lostPSK.Reason:    w.add(Account{Name: "c", FixedAddrs: true, OwnPSK: true}),
		expired.Reason:    w.add(Account{Name: "d", FixedAddrs: true, Expires: time.Now().Add(-time.Hour)}),
	} {
		refused := w.count.Drops.Count(Refused)
		_, err := w.come(t, key, nil, 2)
		require.ErrorContains(t, err, "no answer", why)
		require.Equal(t, refused+2, w.count.Drops.Count(Refused), why)
		mu.Lock()
		require.Equal(t, 1, strings.Count(lines.String(), why), lines.String())
		mu.Unlock()
	}
	// With another pre-shared key, the answer can't be read.
	_, err := w.come(t, w.add(Account{Name: "e", FixedAddrs: true, OwnPSK: true, PSK: &[noise.KeyLen]byte{1}}), nil, 2)
	require.ErrorIs(t, err, secure.ErrUnread)
	_, err = w.come(t, w.add(Account{Name: "f", FixedAddrs: true}), &[noise.KeyLen]byte{1}, unreadAnswers)
	require.ErrorIs(t, err, secure.ErrUnread)
	mu.Lock()
	require.Contains(t, lines.String(), "its pre-shared key is not the one that the server has")
	mu.Unlock()
	require.Empty(t, w.hub.Snapshot())
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// An initiation that is not later than what the Foreign remembers is a replay, also for a hub
// that has just started.
func TestForeignRemembersLonger(t *testing.T) {
	v := &visa{newest: make(map[noise.PublicKey]uint64)}
	w := serve(t, withForeign(v))
	key := w.add(Account{Name: "alice", FixedAddrs: true})
	v.Note(key.Public(), uint64(time.Now().Add(time.Hour).UnixNano()))
	_, err := w.come(t, key, nil, 1)
	require.ErrorContains(t, err, "no answer")
	w.dropped(secure.Replayed, 1)
	v.Note(key.Public(), 1)
	_, err = w.come(t, key, nil, 1)
	require.NoError(t, err)

	// A time far ahead of the server's clock is not remembered.
	far := asked{uint64(time.Now().Add(2 * maxAhead).UnixNano()), time.Now()}
	w.hub.entrances[1].sign([]byte("response"), key.Public(), far)
	require.Less(t, v.Newest(key.Public()), far.time)
}

// Whoever asks last with a key is the client: two foreign ones, which are one to the hub, and
// one of ours and a foreign one, of which ours is told that it was replaced. Each can come back.
func TestForeignTakesTurns(t *testing.T) {
	w := serve(t, withForeign(&visa{newest: make(map[noise.PublicKey]uint64)}))
	key := w.add(Account{Name: "alice", FixedAddrs: true})
	speaks := func(c link.Link, text string) {
		t.Helper()
		write(t, c, ip(aliceV4, web, text))
		require.Equal(t, ip(aliceV4, web, text), w.read())
		require.Len(t, w.hub.Snapshot(), 1)
	}
	for range 3 {
		c, err := w.come(t, key, nil, 3)
		require.NoError(t, err)
		speaks(c, "foreign")
		time.Sleep(2 * helloInterval)
	}
	ours, err := w.tryBy(serverKey.Public(), clientConfig(key))
	require.NoError(t, err)
	speaks(ours, "ours")
	require.Equal(t, "", w.hub.Snapshot()[0].By)
	c, err := w.come(t, key, nil, 3)
	require.NoError(t, err)
	speaks(c, "foreign again")
	require.Equal(t, "foreign", w.hub.Snapshot()[0].By)
	b := link.NewBurst()
	err = ours.ReadBurst(b)
	require.Equal(t, replaced, rejected(t, err))
}

// The initiation of a foreign client may wait in the queue for as long as that client waits.
func TestForeignPatience(t *testing.T) {
	h, err := New(func() Config { c := config(newRegistry()); withForeign(&visa{})(&c); return c }())
	require.NoError(t, err)
	require.Equal(t, queueWait, h.entrances[0].patience())
	slow := *visaFormat
	slow.Retry = 5 * time.Second
	visaOf := slowVisa{&visa{}, &slow}
	require.Equal(t, 4*time.Second, (&entrance{Entrance: Entrance{Foreign: visaOf}}).patience())
}

type slowVisa struct {
	*visa
	format *secure.Format
}

func (v slowVisa) Format() *secure.Format { return v.format }

// What is remembered of refusals is bounded.
func TestRefusalsAreBounded(t *testing.T) {
	var s refusals
	now := time.Now()
	logged := 0
	for i := range 2 * maxRefusals {
		if s.isNew(string(binary.BigEndian.AppendUint32(nil, uint32(i))), "why", now) {
			logged++
		}
	}
	require.Equal(t, maxRefusals, logged)
	require.Len(t, s.logged, maxRefusals)
	require.True(t, s.isNew("x", "why", now.Add(logAgain)))
	require.False(t, s.isNew("x", "why", now.Add(logAgain)))
}

// The number of keys, and so of codes that are computed for an initiation, is bounded.
func TestTooManyEntrances(t *testing.T) {
	c := config(newRegistry())
	withForeign(&visa{})(&c)
	for range maxEntrances - 1 {
		c.Entrances = append(c.Entrances, c.Entrances[0])
	}
	_, err := New(c)
	require.ErrorContains(t, err, "at most 4")
}

// A lossy link loses the data messages that are written to it, while it is told to.
type lossy struct {
	link.Link
	loses *atomic.Bool
}

func (l lossy) WriteBurst(b *link.Burst) error {
	if b.Len() > 0 && b.At(0)[0] == 4 && l.loses.Load() {
		return nil
	}
	return l.Link.WriteBurst(b)
}

// A foreign client whose first packet got lost is let in by a later one, however late that is
// while its keys are good.
func TestForeignIsLate(t *testing.T) {
	w := serve(t, withForeign(&visa{newest: make(map[noise.PublicKey]uint64)}))
	key := w.add(Account{Name: "alice", FixedAddrs: true})
	for _, late := range []bool{true, false} { // later than its keys are good
		loses := new(atomic.Bool)
		loses.Store(true)
		c, err := w.comeBy(t, lossy{w.endpoint(), loses}, key, nil, 1)
		require.NoError(t, err, "it takes the response for the end")
		all := w.hub.directory.all(nil)
		require.Len(t, all, 1)
		w.hub.tick(all[0], time.Now().Add(2*pendingFor))
		require.Len(t, w.hub.directory.all(nil), 1)
		require.Empty(t, w.hub.Snapshot())
		if late {
			w.hub.tick(all[0], time.Now().Add(3*time.Minute))
			require.Empty(t, w.hub.directory.all(nil))
			require.Zero(t, w.hub.table.Len())
			c.Close()
			continue
		}
		loses.Store(false)
		write(t, c, ip(aliceV4, web, "late"))
		require.Equal(t, ip(aliceV4, web, "late"), w.read())
		require.Len(t, w.hub.Snapshot(), 1)
	}
}
