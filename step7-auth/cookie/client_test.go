package cookie

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

func TestOtherMessagesPassUntouched(t *testing.T) {
	c, drops := newClient()
	messages := [][]byte{
		{}, {1}, {1, 0, 0, 0}, {1, 0, 0, 0, 1, 2, 3}, {3, 0, 0, 0, 1, 2, 3}, // too short for any of ours
		{1, 0, 0, 1, 0, 0, 0, 0, 9}, {3, 0, 1, 0, 0, 0, 0, 0, 9}, {3, 1, 0, 0, 0, 0, 0, 0, 9}, // reserved bytes
		{2, 0, 0, 0, 1, 2, 3, 4, 5}, {4, 0, 0, 0, 1, 2, 3, 4, 5}, {0, 0, 0, 0, 1, 2, 3, 4, 5}, {5, 0, 0, 0, 1, 2, 3, 4, 5},
	}
	require.Equal(t, messages, sent(t, c, messages...))
	require.Equal(t, messages, received(t, c, messages))
	require.Equal(t, "none", drops.String())
	// Only an initiation grows, and only a reply is taken out.
	require.Equal(t, [][]byte{{3, 0, 0, 0, 1, 2, 3, 4, 5}}, sent(t, c, []byte{3, 0, 0, 0, 1, 2, 3, 4, 5}))
	initiation := newInitiation(1)
	require.Equal(t, [][]byte{initiation}, received(t, c, [][]byte{initiation}))
}

// Data packets are not even copied: what comes out is the same memory.
func TestBurstsPassInPlace(t *testing.T) {
	for _, n := range []int{1, link.MaxBurst} {
		lower := &place{}
		c := Client(lower, serverKey(), new(link.Drops))
		b := link.NewBurst()
		for range n {
			copy(b.Alloc(len(other)), other)
		}
		require.NoError(t, c.WriteBurst(b))
		require.Same(t, b, lower.b)
		require.Equal(t, n, b.Len())
		require.NoError(t, c.ReadBurst(b))
		require.Equal(t, n, b.Len())
		for i := range n {
			require.Same(t, &lower.read[i][0], &b.At(i)[0])
		}
	}
}

// place is a Link that notes what memory passes.
type place struct {
	wire
	b    *link.Burst
	read [][]byte
}

func (p *place) WriteBurst(b *link.Burst) error { p.b = b; return nil }

func (p *place) ReadBurst(b *link.Burst) error {
	p.read = nil
	for i := range b.Len() {
		p.read = append(p.read, b.At(i))
	}
	return nil
}

func TestInitiationsAmongOthers(t *testing.T) {
	c, drops := newClient()
	one, two := newInitiation(1), newInitiation(2)
	got := sent(t, c, other, one, other, two)
	require.Len(t, got, 4)
	require.Equal(t, [][]byte{other, other}, [][]byte{got[0], got[2]})
	s, _ := newServer()
	for i, want := range map[int][]byte{1: one, 3: two} {
		initiation, _ := s.Check(got[i], alice, false, false, now())
		require.Equal(t, want, initiation)
	}

	// A full burst has no room for the codes. The others pass.
	full := slices.Repeat([][]byte{other}, link.MaxBurst)
	full[5] = one
	require.Equal(t, slices.Repeat([][]byte{other}, link.MaxBurst-1), sent(t, c, full...))
	require.Equal(t, "too-big 1", drops.String())
}

func TestRepliesAmongOthers(t *testing.T) {
	k := newTalk(t)
	_, reply := k.server.Check(k.signed(), alice, true, false, now())
	a, b := []byte{4, 0, 0, 0, 0, 0, 0, 'a'}, []byte{4, 0, 0, 0, 0, 0, 0, 'b'}
	require.Equal(t, [][]byte{a, b}, received(t, k.client, [][]byte{a, reply, b}))
	initiation, _ := k.server.Check(k.signed(), alice, true, false, now())
	require.NotNil(t, initiation)
}

// Replies that do not fit change nothing: neither the cookie that is there, nor
// that the right one can come.
func TestRepliesThatDoNotFit(t *testing.T) {
	k := newTalk(t)
	first := k.signed()
	_, old := k.server.Check(first, alice, true, false, now())
	m := k.signed()
	_, right := k.server.Check(m, alice, true, false, now())
	otherKey := serverKey()
	otherKey[0]++
	foreign := NewServer(otherKey, new(link.Drops))
	foreign.changeSecret(now())

	for name, c := range map[string]struct {
		reply []byte
		want  link.Reason
	}{
		"of an earlier initiation": {old, secure.BadTag}, // the index happens to be the same
		"index":                    {change(right, 7), secure.UnknownIndex},
		"nonce":                    {change(right, 8), secure.BadTag},
		"cookie":                   {change(right, 40), secure.BadTag},
		"tag":                      {change(right, replyLen-1), secure.BadTag},
		"another server":           {foreign.reply(m, alice), secure.BadTag},
		"cut":                      {right[:replyLen-1], secure.BadMessage},
		"shortest":                 {right[:headerLen], secure.BadMessage},
		"longer":                   {append(slices.Clone(right), 0), secure.BadMessage},
	} {
		before := k.received.Count(c.want)
		require.Equal(t, [][]byte{other}, received(t, k.client, [][]byte{c.reply}, [][]byte{other}), name)
		require.Equal(t, before+1, k.received.Count(c.want), name)
	}
	k.get(right)
	require.EqualValues(t, 1, k.received.Count(secure.UnknownIndex))
	k.get(right) // a copy
	require.EqualValues(t, 2, k.received.Count(secure.UnknownIndex))
	initiation, _ := k.server.Check(k.signed(), alice, true, false, now())
	require.NotNil(t, initiation)
}

// A reply that nobody asked for is none, even if all in it is zero, as it is in a
// new client.
func TestReplyOutOfTheBlue(t *testing.T) {
	k := newTalk(t)
	k.server.changeSecret(now())
	m := make([]byte, minInitiation)
	received(t, k.client, [][]byte{k.server.reply(m, alice), other})
	require.Equal(t, "unknown-index 1", k.received.String())
	require.True(t, k.client.(*client).arrived.IsZero())
}

func change(m []byte, i int) []byte {
	m = slices.Clone(m)
	m[i] ^= 1
	return m
}

func TestCookiesAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		_, reply := k.server.Check(k.signed(), alice, true, false, time.Now())
		k.get(reply)
		has := func() bool {
			_, code := mac2At(k.signed())
			return !(mac{}).equals(code)
		}
		time.Sleep(lifetime - time.Second)
		require.True(t, has())
		time.Sleep(time.Second)
		require.False(t, has())
	})
}

func TestClientClosesWhatIsBelow(t *testing.T) {
	a, b := link.Pipe(0)
	c := Client(a, noise.PublicKey{}, new(link.Drops))
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.ReadBurst(link.NewBurst()), net.ErrClosed)
	require.ErrorIs(t, b.ReadBurst(link.NewBurst()), net.ErrClosed)
	full := link.NewBurst()
	full.Alloc(1)
	require.ErrorIs(t, c.WriteBurst(full), net.ErrClosed)
}

// Nothing that passes costs memory.
func TestClientAllocs(t *testing.T) {
	c := Client(new(still), serverKey(), new(link.Drops))
	b := link.NewBurst()
	for range link.MaxBurst {
		copy(b.Alloc(1000), other)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if c.WriteBurst(b) != nil || c.ReadBurst(b) != nil || b.Len() != link.MaxBurst {
			t.Error("failed")
		}
	}))
}

// still is a Link that leaves each burst as it is.
type still struct{ wire }

func (s *still) WriteBurst(b *link.Burst) error { return nil }
func (s *still) ReadBurst(b *link.Burst) error  { return nil }
