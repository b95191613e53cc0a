package cookie

import (
	"bytes"
	"encoding/binary"
	"hash"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

func now() time.Time { return epoch }

// A talk is a client and a server that hand each other messages.
type talk struct {
	t        *testing.T
	client   link.Link
	server   *Server
	drops    *link.Drops // of the server
	received *link.Drops // of the client
}

func newTalk(t *testing.T) talk {
	c, received := newClient()
	s, drops := newServer()
	return talk{t, c, s, drops, received}
}

// signed returns the next initiation of the client.
func (k talk) signed() []byte { return sent(k.t, k.client, newInitiation(1))[0] }

// get has the client read a reply.
func (k talk) get(reply []byte) {
	require.Len(k.t, reply, replyLen)
	require.Len(k.t, received(k.t, k.client, [][]byte{reply, other}), 1)
}

func TestUnderLoadAnInitiationNeedsACookie(t *testing.T) {
	k := newTalk(t)
	m := k.signed()
	initiation, reply := k.server.Check(m, alice, true, false, now())
	require.Nil(t, initiation)
	require.Less(t, len(reply), len(m), "no amplification")
	require.Equal(t, []byte{3, 0, 0, 0, 0, 0, 0, 1}, reply[:8])
	require.Equal(t, "under-load 1", k.drops.String())

	k.get(reply)
	m = k.signed()
	initiation, reply = k.server.Check(m, alice, true, false, now())
	require.Equal(t, m[:len(m)-Overhead], initiation)
	require.Nil(t, reply)
	require.Equal(t, len(initiation), cap(initiation), "nothing can grow into the codes")

	// The cookie is for one address and one port.
	for _, from := range []netip.AddrPort{bob, netip.AddrPortFrom(alice.Addr(), 40001), netip.MustParseAddrPort("[2001:db8::1]:40000")} {
		initiation, reply = k.server.Check(k.signed(), from, true, false, now())
		require.Nil(t, initiation)
		require.NotNil(t, reply)
	}
	// An address is the same in both forms of it.
	mapped := netip.AddrPortFrom(netip.AddrFrom16(alice.Addr().As16()), alice.Port())
	initiation, _ = k.server.Check(k.signed(), mapped, true, false, now())
	require.NotNil(t, initiation)
	require.Equal(t, "none", k.received.String())
}

func TestWithoutLoadNoCookieIsNeeded(t *testing.T) {
	k := newTalk(t)
	for range 100 {
		initiation, reply := k.server.Check(k.signed(), alice, false, false, now())
		require.NotNil(t, initiation)
		require.Nil(t, reply)
	}
	require.Equal(t, "none", k.drops.String())
}

// The shortest initiation that is worked on is longer than a reply.
func TestNoReplyIsLongerThanWhatCameIn(t *testing.T) {
	const ipv6, udp = 40, 8
	require.LessOrEqual(t, ipv6+udp+maxInitiation, 1280)
	k := newTalk(t)
	for n := range 2 * maxInitiation {
		m := make([]byte, n)
		if n > Overhead {
			m[0] = typeInitiation
			code := mac1Of(serverKey()).sum(m[:n-Overhead])
			copy(m[n-Overhead:], code[:])
		}
		initiation, reply := k.server.Check(m, alice, true, false, now())
		require.Nil(t, initiation)
		require.Equal(t, n >= minInitiation && n <= maxInitiation, reply != nil, "%d bytes", n)
		if reply != nil {
			require.Less(t, len(reply), n)
		}
	}
}

func TestBadInitiationsGetSilence(t *testing.T) {
	k := newTalk(t)
	good := k.signed()
	wrongServer := newInitiation(1)
	key := serverKey()
	key[31] ^= 1
	other := Client(new(wire), key, new(link.Drops))
	for name, c := range map[string]struct {
		m    []byte
		want link.Reason
	}{
		"empty":          {nil, secure.BadMessage},
		"cut":            {good[:minInitiation-1], secure.BadMessage},
		"without codes":  {good[:len(good)-Overhead], BadMAC},
		"without mac2":   {good[:len(good)-macLen], BadMAC},
		"one byte more":  {append(good[:len(good):len(good)], 0), BadMAC},
		"oversized":      {append(good[:len(good):len(good)], make([]byte, 1500)...), secure.BadMessage},
		"another server": {sent(t, other, wrongServer)[0], BadMAC},
		"another type":   {append([]byte{2}, good[1:]...), secure.BadMessage},
		"reserved bytes": {append([]byte{1, 0, 0, 1}, good[4:]...), secure.BadMessage},
	} {
		for _, load := range []bool{false, true} {
			s, drops := newServer()
			initiation, reply := s.Check(c.m, alice, load, false, now())
			require.Nil(t, initiation, name)
			require.Nil(t, reply, name)
			require.EqualValues(t, 1, drops.Count(c.want), name)
		}
	}
}

// A lockedHash notices that it is used by somebody who doesn't hold the lock. (So would -race, with two goroutines and
// some luck; but it needs a C compiler.)
type lockedHash struct {
	hash.Hash
	mu *sync.Mutex
	t  *testing.T
}

func (h lockedHash) Write(b []byte) (int, error) {
	if h.mu.TryLock() {
		h.mu.Unlock()
		h.t.Error("a hash is used without the lock")
	}
	return h.Hash.Write(b)
}

func TestCheckHoldsTheLock(t *testing.T) {
	k := newTalk(t)
	s := k.server
	check := func(m []byte, underLoad bool) (reply []byte) {
		_, reply = s.Check(m, alice, underLoad, false, now())
		require.True(t, s.mu.TryLock(), "Check has returned, and still holds the lock")
		s.mu.Unlock()
		return reply
	}
	s.mac1.hash = lockedHash{s.mac1.hash, &s.mu, t}
	check(nil, false)
	check(newInitiation(1), false) // its last bytes are no code
	check(k.signed(), false)
	k.get(check(k.signed(), true))
	s.secret[0].hash = lockedHash{s.secret[0].hash, &s.mu, t}
	for range 6 {
		check(k.signed(), true)
	}
	require.Equal(t, "bad-message 1, bad-mac 1, throttled 1, under-load 1", k.drops.String())
}

// A cookie is good for at least as long as the client uses it, whenever it was
// made, and not for ever.
func TestSecretsChange(t *testing.T) {
	for _, made := range []time.Duration{0, time.Second, lifetime - 1, lifetime, 3 * lifetime} {
		k := newTalk(t)
		k.server.Check(k.signed(), alice, true, false, now()) // the first secret
		_, reply := k.server.Check(k.signed(), alice, true, false, now().Add(made))
		k.get(reply)
		m := k.signed()
		for _, later := range []time.Duration{0, lifetime / 2, lifetime - 1} {
			initiation, _ := k.server.Check(m, alice, true, false, now().Add(made+later))
			require.NotNil(t, initiation, "made at %v, used %v later", made, later)
		}
		initiation, reply := k.server.Check(m, alice, true, false, now().Add(made+2*lifetime))
		require.Nil(t, initiation, "made at %v", made)
		require.NotNil(t, reply)
	}
}

func TestAnIdleServerForgetsBothSecrets(t *testing.T) {
	k := newTalk(t)
	_, reply := k.server.Check(k.signed(), alice, true, false, now())
	k.get(reply)
	m := k.signed()
	initiation, _ := k.server.Check(m, alice, true, false, now().Add(24*time.Hour))
	require.Nil(t, initiation)
}

func TestASourceWithACookieIsThrottled(t *testing.T) {
	k := newTalk(t)
	_, reply := k.server.Check(k.signed(), alice, true, false, now())
	k.get(reply)
	passed := 0
	for i := range 100 { // one each 10 ms
		initiation, reply := k.server.Check(k.signed(), alice, true, false, now().Add(time.Duration(i)*10*time.Millisecond))
		require.Nil(t, reply)
		if initiation != nil {
			passed++
		}
	}
	require.Equal(t, 24, passed, "a burst of 5, and one each 50 ms after the first")
	require.EqualValues(t, 76, k.drops.Count(Throttled))
}

// Anybody can write any address into a packet. Initiations without a cookie take nothing
// from the share of the source that they name.
func TestForgedAddressesTakeNobodysShare(t *testing.T) {
	k := newTalk(t)
	_, reply := k.server.Check(k.signed(), alice, true, false, now())
	k.get(reply)
	signed := k.signed()
	forged := bytes.Clone(signed)
	_, mac2 := mac2At(forged)
	clear(mac2)
	for range 10 * perEndpoint {
		initiation, _ := k.server.Check(forged, alice, true, false, now())
		require.Nil(t, initiation)
	}
	for range perEndpoint {
		initiation, _ := k.server.Check(signed, alice, true, false, now())
		require.NotNil(t, initiation, "alice has sent nothing yet; others have, in her name")
	}
}

// A connected client is not held to the share of the networks around it, which others may
// have used up. It is held to the share of its endpoint all the same.
func TestWhoIsThereIsNotThrottledForItsNetwork(t *testing.T) {
	k := newTalk(t)
	_, reply := k.server.Check(k.signed(), alice, true, false, now())
	k.get(reply)
	for i := range 2 * perSite {
		k.server.limiter.Allow(netip.AddrPortFrom(alice.Addr().Next(), uint16(i)), now())
		k.server.limiter.Allow(netip.AddrPortFrom(alice.Addr().Prev(), uint16(i)), now())
	}
	initiation, _ := k.server.Check(k.signed(), alice, true, false, now())
	require.Nil(t, initiation, "the detector")
	passed := 0
	for range 100 {
		if initiation, _ := k.server.Check(k.signed(), alice, true, true, now()); initiation != nil {
			passed++
		}
	}
	require.Equal(t, perEndpoint, passed)
	again := newTalk(t)
	initiation, reply = again.server.Check(again.signed(), alice, true, true, now())
	require.Nil(t, initiation, "it needs a cookie as others do")
	require.NotNil(t, reply)
}

// A flood from any number of addresses takes no more memory than a small one,
// even if all of it has a valid mac1, or even a valid mac2.
func TestAFloodTakesNoMemory(t *testing.T) {
	const messages = 100_000
	k := newTalk(t)
	flood := func(prepare func(m []byte, from netip.AddrPort)) {
		template := k.signed()
		m := make([]byte, len(template))
		for i := range messages {
			copy(m, template)
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], rand.Uint64()>>3|1<<61) // 2000::/3
			from := netip.AddrPortFrom(netip.AddrFrom16(a), uint16(rand.Int()))
			prepare(m, from)
			k.server.Check(m, from, true, false, now().Add(time.Duration(i)*time.Microsecond))
		}
	}
	forged := func(m []byte, _ netip.AddrPort) { binary.BigEndian.PutUint64(m[20:], rand.Uint64()) }
	valid1 := func(m []byte, _ netip.AddrPort) {}
	valid2 := func(m []byte, from netip.AddrPort) {
		cookie := cookieFor(k.server.secret[0], from)
		covered, code := mac2At(m)
		c := newHasher(cookie[:]).sum(covered)
		copy(code, c[:])
	}
	flood(valid1) // makes the secret
	before := heap()
	flood(forged)
	flood(valid1)
	flood(valid2)
	grown := int64(heap()) - int64(before)
	require.Less(t, grown, int64(3<<20), "bytes")
	require.LessOrEqual(t, len(k.server.limiter.young), maxSources)
	require.EqualValues(t, messages, k.drops.Count(BadMAC))
	require.EqualValues(t, 2*messages, k.drops.Count(UnderLoad))
	require.Greater(t, k.drops.Count(Throttled), uint64(messages/2))
	t.Logf("the heap has grown by %d KB", grown>>10)
}

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A forged initiation leaves nothing for the garbage collector either.
func TestCheckAllocs(t *testing.T) {
	k := newTalk(t)
	good := k.signed()
	require.Zero(t, testing.AllocsPerRun(1000, func() { k.server.Check(good, alice, false, false, now()) }))
	good[20] ^= 1
	require.Zero(t, testing.AllocsPerRun(1000, func() { k.server.Check(good, alice, true, false, now()) }))
	require.EqualValues(t, 1001, k.drops.Count(BadMAC))
}
