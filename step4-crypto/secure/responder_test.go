package secure

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A site is a server of many peers.
type site struct {
	*Responder
	table  *Table
	opener *Opener
	wakeAt time.Time
	drops  *link.Drops
}

func (s *site) Wake(at time.Time)         { s.wakeAt = at }
func (s *site) Moved(_, _ netip.AddrPort) {}

// newSite returns a server that expects IK, and the Config of a client of it.
func newSite(t *testing.T) (*site, Config) {
	key, client := noise.GenerateKey(), noise.GenerateKey()
	public := key.Public()
	s := &site{drops: new(link.Drops), table: NewTable(10)}
	s.opener = NewOpener(s.table, s.drops)
	var err error
	s.Responder, err = NewResponder(Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &key},
		Drops:     s.drops,
	})
	require.NoError(t, err)
	return s, Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &client, PeerStatic: &public},
		Drops:     new(link.Drops),
	}
}

func (s *site) peer() *Peer { return s.NewPeer(s.table, s, slog.Default()) }

// open returns what a message to the server was.
func (s *site) open(m []byte, now time.Time) Opened {
	return (&node{opener: s.opener}).open(m, aliceAddr, now)
}

// ask returns a client that has sent its first initiation.
func ask(t *testing.T, cfg Config, now time.Time) (n *node, initiation []byte) {
	sim := &simulation{t: t, now: now}
	n = sim.node(cfg, true, aliceAddr)
	initiation, _, err := n.Tick(now)
	require.NoError(t, err)
	return n, initiation
}

func TestAccept(t *testing.T) {
	now := time.Now()
	o, cfg := newSite(t)
	cfg.Payload = []byte("hello")
	var got string
	cfg.OnPayload = func(p []byte) error { got = string(p); return nil }
	c, m := ask(t, cfg, now)

	q, ok := o.Read(m)
	require.True(t, ok)
	require.Equal(t, cfg.Handshake.Static.Public(), q.PeerStatic())
	require.Equal(t, "hello", string(q.Payload()))
	require.EqualValues(t, now.UnixNano(), q.Time())
	p := o.peer()
	_, err := q.Accept(p, make([]byte, MaxPayload+1), now)
	require.EqualError(t, err, "secure: a payload has at most 1024 bytes, not 1025")
	require.Zero(t, o.table.Len())
	require.False(t, p.Alive())
	answer, err := q.Accept(p, []byte("welcome"), now)
	require.NoError(t, err)
	require.True(t, p.Alive())
	require.Equal(t, 1, o.table.Len())
	_, err = q.Accept(p, nil, now)
	require.Error(t, err, "a request is answered once")
	require.Equal(t, 1, o.table.Len())

	first := c.open(answer, serverAddr, now).Reply
	require.Equal(t, "welcome", got)
	require.Equal(t, Status{}, p.Status(), "nothing has come yet")
	_, to := p.Sending(now)
	require.Zero(t, to)
	in := o.open(first, now)
	require.Equal(t, Keepalive, in.Kind)
	require.Same(t, p, in.Peer)
	require.Same(t, o, in.Peer.Owner())
	require.Equal(t, Status{Peer: aliceAddr, Since: now, Heard: now}, p.Status())
	c.open(in.Reply, serverAddr, now)

	// Packets and control messages pass in both directions.
	in = o.open(c.seal(ipPacket("up")), now)
	require.Equal(t, Opened{Kind: Packet, Peer: p, Content: ipPacket("up")}, in)
	keys, to := p.Sending(now)
	require.Equal(t, aliceAddr, to)
	in = c.open(keys.seal(ipPacket("down")), serverAddr, now)
	require.Equal(t, ipPacket("down"), in.Content)
	p.SetMTU(1400)
	m, to = p.Control(FirstKind, []byte("x"), now)
	require.Equal(t, aliceAddr, to)
	require.Len(t, m, 16+Overhead, "padded")
	in = c.open(m, serverAddr, now)
	require.Equal(t, Opened{Kind: Control, Peer: c.Peer, Control: FirstKind, Content: []byte("x")}, in)

	// A close that is final ends the client, and its sessions are found no more.
	m, to = p.Close(Rejected{Reason: "you were revoked", Final: true}, now)
	require.Equal(t, aliceAddr, to)
	require.Zero(t, o.table.Len())
	require.False(t, p.Alive())
	m2, _ := p.Close(Rejected{}, now)
	require.Nil(t, m2, "there is nobody to tell any more")
	require.Equal(t, Closed, c.open(m, serverAddr, now).Kind)
	_, _, err = c.Tick(now)
	require.EqualError(t, err, "the server has ended the session: you were revoked")
	require.ErrorAs(t, err, new(*Rejected))
	require.Equal(t, "none", o.drops.String())
}

// One peer's sessions come and go with its keys, and others' are others'.
func TestTableFollowsKeys(t *testing.T) {
	now := time.Now()
	o, cfg := newSite(t)
	p, other := o.peer(), o.peer()
	handshake := func(p *Peer) {
		c, m := ask(t, cfg, now)
		q, ok := o.Read(m)
		require.True(t, ok)
		answer, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		o.open(c.open(answer, serverAddr, now).Reply, now)
	}
	handshake(other)
	for n := range 5 {
		handshake(p)
		require.Equal(t, 1+min(n+1, 2), o.table.Len(), "current and previous")
	}
	for range 3 { // without a packet that confirms
		_, m := ask(t, cfg, now)
		q, _ := o.Read(m)
		_, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		require.Equal(t, 4, o.table.Len())
	}
	for range 4 {
		now = o.wakeAt
		p.Tick(now)
	}
	other.Tick(now)
	require.Zero(t, o.table.Len(), "all have expired")
}

// Messages of several clients may come in one burst, and the peers' locks do not
// have to be taken for each packet: what comes out is the same.
func TestOpenBurstOfMany(t *testing.T) {
	now := time.Now()
	o, cfg := newSite(t)
	var clients []*node
	var peers []*Peer
	for range 3 {
		c, m := ask(t, cfg, now)
		q, _ := o.Read(m)
		p := o.peer()
		answer, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		clients, peers = append(clients, c), append(peers, p)
		b := link.NewBurst() // the first packet comes in a row with others
		for _, m := range [][]byte{c.open(answer, serverAddr, now).Reply, m} {
			copy(b.Alloc(len(m)), m)
		}
		b.Addr = aliceAddr
		opened := o.opener.Open(b, now)
		require.Equal(t, []Kind{Keepalive, Initiation}, []Kind{opened[0].Kind, opened[1].Kind})
		c.open(opened[0].Reply, serverAddr, now)
	}
	b := link.NewBurst()
	b.Addr = aliceAddr
	order := []int{0, 0, 1, 0, 2, 2, 1, 1, 1, 0}
	for _, i := range order {
		m := clients[i].seal(ipPacket("from"))
		copy(b.Alloc(len(m)), m)
	}
	copy(b.Alloc(len(b.At(0))), b.At(0)) // a copy
	copy(b.Alloc(len(b.At(0))), b.At(0))
	b.At(len(order) + 1)[dataHeader] ^= 1 // an altered one
	opened := o.opener.Open(b, now)
	for n, i := range order {
		require.Equal(t, Packet, opened[n].Kind)
		require.Same(t, peers[i], opened[n].Peer)
	}
	require.Equal(t, []Opened{{}, {}}, opened[len(order):])
	require.EqualValues(t, 2, o.drops.Count(Replayed))
}

// A client of the version before is told to be updated, wherever it can read an answer.
func TestOlderVersion(t *testing.T) {
	o, cfg := newSite(t)
	old := cfg.Handshake
	old.Initiator, old.Prologue = true, []byte(olderPrologue)
	h, err := noise.New(old)
	require.NoError(t, err)
	m, err := h.WriteMessage([]byte{1, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 17)) // big-endian
	require.NoError(t, err)
	q, ok := o.Read(m)
	require.True(t, ok)
	require.True(t, q.Older())
	answer := q.RefuseOlder()
	require.Equal(t, []byte{2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, answer[:12])
	payload, err := h.ReadMessage(nil, answer[12:])
	require.NoError(t, err)
	require.Equal(t, "\x01\x03the server speaks a newer version of this protocol: update this program", string(payload))

	// The older versions of steps 4 to 6 get no answer, and show in the log.
	lines := captureLog(t)
	psk := config(1)
	s := simulate(t, config(1), psk)
	old = config(1).Handshake
	old.Initiator, old.Prologue = true, []byte(olderPrologue)
	for range 3 {
		h, err = noise.New(old)
		require.NoError(t, err)
		m, err = h.WriteMessage([]byte{1, 0, 0, 0, 1, 2, 3, 4}, nil)
		require.NoError(t, err)
		s.deliver(s.server, m, aliceAddr)
	}
	require.Empty(t, s.server.sent)
	require.EqualValues(t, 3, psk.Drops.Count(BadMessage))
	require.Equal(t, 1, lines.count("older version"))
}

// A refusal makes no session on either side, and ends the client.
func TestRefuse(t *testing.T) {
	now := time.Now()
	o, cfg := newSite(t)
	c, m := ask(t, cfg, now)
	q, ok := o.Read(m)
	require.True(t, ok)
	in := c.open(q.Refuse(Rejected{Reason: "the server\nis full"}), serverAddr, now)
	require.Equal(t, Opened{}, in)
	_, _, err := c.Tick(now)
	require.EqualError(t, err, "the server refuses: the server?is full")
	require.ErrorAs(t, err, new(*Rejected))
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
	require.EqualError(t, s.client.failed, "the server's answer is refused: not any more")
}

// A Responder does not answer a message that does not authenticate, and counts it.
func TestResponderDrops(t *testing.T) {
	o, cfg := newSite(t)
	_, m := ask(t, cfg, time.Now())
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
		got, ok := parseClose(r.Append(nil))
		require.True(t, ok)
		require.Equal(t, r, got)
	}
	got, ok := parseClose(nil)
	require.True(t, ok)
	require.Zero(t, got)
	for _, bad := range []string{"\x00", "\x02x", "\x00a\nb", "\x00\x1b", "\x01\xff", "\x00" + strings.Repeat("x", MaxReason+1)} {
		_, ok := parseClose([]byte(bad))
		require.False(t, ok, "%q", bad)
	}
}

// Any answer of a server: what parses encodes to the same bytes again.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{accepted, 1})
	f.Add(appendTime([]byte{behind}, 1))
	f.Add(Rejected{Reason: "no", Final: true}.Append([]byte{refused}))
	f.Fuzz(func(t *testing.T, m []byte) {
		a, err := parseAnswer(m)
		if err != nil {
			return
		}
		again := []byte{a.kind}
		switch a.kind {
		case accepted:
			again = append(again, a.payload...)
		case behind:
			again = appendTime(again, a.time)
		case refused:
			require.True(t, PlainText(a.reason.Reason))
			again = a.reason.Append(again)
		}
		require.Equal(t, m, again)
	})
}
