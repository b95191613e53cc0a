package secure

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// An owner of many peers: it hands out indices and counts those in use.
type owner struct {
	*Responder
	last   uint32
	in     map[uint32]*Peer
	wakeAt time.Time
	drops  *link.Drops
}

// newOwner returns an owner that expects IK, and the Config of a client of it.
func newOwner(t *testing.T) (*owner, Config) {
	key, client := noise.GenerateKey(), noise.GenerateKey()
	public := key.Public()
	o := &owner{in: make(map[uint32]*Peer), drops: new(link.Drops)}
	var err error
	o.Responder, err = NewResponder(Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &key},
		Drops:     o.drops,
	})
	require.NoError(t, err)
	return o, Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &client, PeerStatic: &public},
		Drops:     new(link.Drops),
	}
}

func (o *owner) peer() *Peer {
	var p *Peer
	p = o.NewPeer(Owner{
		Wake:      func(at time.Time) { o.wakeAt = at },
		TakeIndex: func() uint32 { o.last++; o.in[o.last] = p; return o.last },
		FreeIndex: func(index uint32) { delete(o.in, index) },
		Log:       slog.Default(),
	})
	return p
}

// client returns a client that has sent its first initiation.
func client(t *testing.T, cfg Config, now time.Time) (p *peer, initiation []byte) {
	full, err := cfg.complete(true)
	require.NoError(t, err)
	p = newPeer(full, true, now, func(time.Time) {})
	initiation, _, err = p.tick(now)
	require.NoError(t, err)
	return p, initiation
}

func TestAccept(t *testing.T) {
	now := time.Now()
	o, cfg := newOwner(t)
	cfg.Payload = []byte("hello")
	var got string
	cfg.OnPayload = func(p []byte) error { got = string(p); return nil }
	c, m := client(t, cfg, now)
	require.True(t, IsInitiation(m))

	q, ok := o.Read(m)
	require.True(t, ok)
	require.Equal(t, cfg.Handshake.Static.Public(), q.PeerStatic())
	require.Equal(t, "hello", string(q.Payload()))
	p := o.peer()
	_, err := q.Accept(p, make([]byte, MaxPayload+1), now)
	require.EqualError(t, err, "secure: a payload has at most 1024 bytes, not 1025")
	require.Empty(t, o.in)
	require.False(t, p.Alive())
	answer, err := q.Accept(p, []byte("welcome"), now)
	require.NoError(t, err)
	require.True(t, p.Alive())
	require.Len(t, o.in, 1)
	_, err = q.Accept(p, nil, now)
	require.Error(t, err, "a request is answered once")
	require.Len(t, o.in, 1)

	_, first := c.receive(answer, serverAddr, now)
	require.Equal(t, "welcome", got)
	require.Equal(t, Status{}, p.Status(), "nothing has come yet")
	_, to := p.Sending(now)
	require.Zero(t, to)
	index, ok := Index(first)
	require.True(t, ok)
	require.Same(t, p, o.in[index])
	inside, reply := p.Receive(first, aliceAddr, now)
	require.Nil(t, inside)
	require.Equal(t, Status{Peer: aliceAddr, Since: now, Heard: now}, p.Status())
	c.receive(reply, serverAddr, now)

	// Packets and control messages pass in both directions.
	keys, _ := c.sending(now)
	m, _ = keys.seal(nil, ipPacket("up"))
	inside, _ = p.Receive(m, aliceAddr, now)
	require.Equal(t, ipPacket("up"), inside)
	mine, to := p.Sending(now)
	require.Equal(t, aliceAddr, to)
	m, ok = mine.Seal(nil, ipPacket("down"))
	require.True(t, ok)
	inside, _ = c.receive(m, serverAddr, now)
	require.Equal(t, ipPacket("down"), inside)
	m, to = p.Control(FirstKind, []byte("x"), now)
	require.Equal(t, aliceAddr, to)
	inside, _ = c.receive(m, serverAddr, now)
	require.Equal(t, "\x00\x02x", string(inside))
	require.True(t, IsControl(inside))

	// A close that is final ends the client, and frees the index.
	m, to = p.Close(Rejected{Reason: "you were revoked", Final: true}, now)
	require.Equal(t, aliceAddr, to)
	require.Empty(t, o.in)
	require.False(t, p.Alive())
	m2, _ := p.Close(Rejected{}, now)
	require.Nil(t, m2, "there is nobody to tell any more")
	c.receive(m, serverAddr, now)
	_, _, err = c.tick(now)
	require.EqualError(t, err, "the server has ended the session: you were revoked")
	require.ErrorAs(t, err, new(*Rejected))
	require.Equal(t, "none", o.drops.String())
}

// One peer's indices come and go with its keys, and others' are others'.
func TestIndices(t *testing.T) {
	now := time.Now()
	o, cfg := newOwner(t)
	p, other := o.peer(), o.peer()
	handshake := func(p *Peer) {
		c, m := client(t, cfg, now)
		q, ok := o.Read(m)
		require.True(t, ok)
		answer, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		_, first := c.receive(answer, serverAddr, now)
		p.Receive(first, aliceAddr, now)
	}
	handshake(other)
	for n := range 5 {
		handshake(p)
		require.Len(t, o.in, 1+min(n+1, 2), "current and previous")
	}
	for range 3 { // without a packet that confirms
		_, m := client(t, cfg, now)
		q, _ := o.Read(m)
		_, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		require.Len(t, o.in, 4)
	}
	for range 4 {
		now = o.wakeAt
		p.Tick(now)
	}
	other.Tick(now)
	require.Empty(t, o.in, "all have expired")
}

// A refusal makes no session on either side, and ends the client.
func TestRefuse(t *testing.T) {
	now := time.Now()
	o, cfg := newOwner(t)
	cfg.OnPayload = func(p []byte) error { return &Rejected{Reason: string(p)} }
	c, m := client(t, cfg, now)
	q, ok := o.Read(m)
	require.True(t, ok)
	_, err := q.Refuse(make([]byte, MaxPayload+1))
	require.Error(t, err)
	answer, err := q.Refuse([]byte("the server is full"))
	require.NoError(t, err)
	inside, reply := c.receive(answer, serverAddr, now)
	require.Nil(t, inside)
	require.Nil(t, reply)
	_, _, err = c.tick(now)
	require.EqualError(t, err, "the server refuses: the server is full")
	require.Equal(t, "none", cfg.Drops.String(), "it is not the client's network that is bad")
}

// A client that is connected ends too when new keys are refused.
func TestRefusedLater(t *testing.T) {
	n := 0
	cfg := config(1)
	cfg.OnPayload = func([]byte) error {
		if n++; n > 1 {
			return &Rejected{Reason: "not any more", Final: true}
		}
		return nil
	}
	s := simulate(t, cfg, config(1))
	s.connect()
	s.runUntil(rekeyAfterTime+time.Second, func() bool { return s.client.failed != nil })
	require.EqualError(t, s.client.failed, "the server refuses: not any more")
}

// A Responder says nothing to what does not authenticate, and counts it.
func TestResponderDrops(t *testing.T) {
	o, cfg := newOwner(t)
	_, m := client(t, cfg, time.Now())
	for i := range m {
		bad := append([]byte(nil), m...)
		bad[i] ^= 1
		q, ok := o.Read(bad)
		if i >= 4 && i < 8 { // the index: nothing says whose it is
			require.True(t, ok)
			continue
		}
		require.False(t, ok, "byte %d", i)
		require.Nil(t, q)
	}
	_, ok := o.Read(m[:len(m)-1])
	require.False(t, ok)
	require.EqualValues(t, 4, o.drops.Count(BadMessage))
	require.EqualValues(t, len(m)-8+1, o.drops.Count(BadTag))
	_, ok = o.Read(m)
	require.True(t, ok, "the detector")
}

// A reason is shown to people: nothing but one line of plain text passes.

func TestReasons(t *testing.T) {
	for _, r := range []Rejected{{Reason: "x"}, {Reason: strings.Repeat("~", MaxReason), Final: true}} {
		got, ok := parseClose(appendClose(nil, r))
		require.True(t, ok)
		require.Equal(t, r, got)
	}
	got, ok := parseClose(closeMessage)
	require.True(t, ok)
	require.Zero(t, got)
	for _, bad := range []string{"", "\x00", "\x00\x02", "\x01\x01", "\x00\x01\x00", "\x00\x01\x02x", "\x00\x01\x00a\nb", "\x00\x01\x00\x1b", "\x00\x01\x01\xff",
		"\x00\x01\x00" + strings.Repeat("x", MaxReason+1)} {
		_, ok := parseClose([]byte(bad))
		require.False(t, ok, "%q", bad)
	}
}
