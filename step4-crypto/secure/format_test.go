package secure

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// foreignFormat is a Format as a chapter after step 8 has one, with a simpler time.
var foreignFormat = &Format{
	Prologue:   "another program",
	AppendTime: func(dst []byte, time uint64) []byte { return binary.BigEndian.AppendUint64(dst, time) },
	ParseTime: func(m []byte) (uint64, bool) {
		if len(m) != 8 {
			return 0, false
		}
		return binary.BigEndian.Uint64(m), true
	},
	NextTime:          func(before, now uint64) uint64 { return max(before+1, now) },
	RekeyAfterTime:    120 * time.Second,
	RekeyAfterPackets: 1 << 60,
	RejectAfterCount:  1<<64 - 1<<13 - 1,
	ReplyWithin:       10 * time.Second,
	SilenceLimit:      15 * time.Second,
	Retry:             5 * time.Second,
	RetryJitter:       time.Second / 3,
}

func foreignConfig(key byte) Config {
	cfg := config(key)
	return Config{
		Handshake: noise.Config{Suite: noise.ChaChaPolyBLAKE2s, Pattern: noise.NNpsk0, PSK: cfg.Handshake.PSK},
		Format:    foreignFormat, Drops: new(link.Drops), MTU: 1420, Keepalive: -1,
	}
}

// simulateForeign is simulate for a session in a Format.
func simulateForeign(t *testing.T) *simulation {
	return simulate(t, foreignConfig(1), foreignConfig(1))
}

// A handshake is two messages, and a third shows the server that the client has the keys. None
// of them carries more than the Format says, and the server does not answer the third.
func TestFormatHandshake(t *testing.T) {
	s := simulateForeign(t)
	s.runUntil(time.Second, func() bool { return s.client.Status() != Status{} })
	require.Empty(t, s.server.Status(), "the client uses the keys at once")
	require.Equal(t, Status{Peer: serverAddr, Since: s.now, Heard: s.now}, s.client.Status())
	s.run(time.Second)
	require.NotEmpty(t, s.server.Status())
	require.Len(t, s.client.sent, 2)
	require.Len(t, s.server.sent, 1)
	require.Len(t, s.client.sent[0], initiationHeader+noise.KeyLen+8+noise.TagLen)
	require.Len(t, s.server.sent[0], responseHeader+minNoise)
	require.Len(t, s.client.sent[1], Overhead)
	require.True(t, s.write(s.server, ipPacket("down")))
	require.True(t, s.write(s.client, ipPacket("up")))
	s.run(time.Second)
	require.Equal(t, [][]byte{ipPacket("down")}, s.client.inside)
	require.Equal(t, [][]byte{ipPacket("up")}, s.server.inside)
}

// The header of a data message is not authenticated, nor is it of use to change it: another
// counter is another nonce.
func TestFormatHeader(t *testing.T) {
	s := simulateForeign(t)
	s.run(time.Second)
	keys, _ := s.client.Sending(s.now)
	sealed := keys.keypair
	open := func(d data) bool {
		_, err := s.server.keys.Load().current.receiving.Open(nil, d.counter, []byte("any header"), d.sealed)
		return err == nil
	}
	m, _ := sealed.seal(nil, ipPacket("x"), 0)
	d, ok := parseData(m)
	require.True(t, ok)
	require.True(t, open(d))
	d.counter++
	require.False(t, open(d))
}

// There are no control messages: what looks like one is dropped, and neither Close, nor
// Control, nor Probe makes one. A server says nothing when it refuses.
func TestFormatHasNoControl(t *testing.T) {
	s := simulateForeign(t)
	s.run(time.Second)
	for _, content := range [][]byte{appendControl(nil, kindClose, nil), appendControl(nil, FirstKind, []byte("x")), {0}} {
		before := s.server.cfg.Drops.Count(link.Malformed)
		s.deliver(s.server, s.client.seal(content), aliceAddr)
		require.Empty(t, s.server.inside)
		require.NotEmpty(t, s.server.Status(), "it is still there")
		require.Equal(t, before+1, s.server.cfg.Drops.Count(link.Malformed))
	}
	m, _ := s.client.Peer.Control(FirstKind, nil, s.now)
	require.Nil(t, m)
	m, _ = s.client.Probe(FirstKind, nil, s.now)
	require.Nil(t, m)
	m, _ = s.client.Peer.Close(Rejected{Reason: "no"}, s.now)
	require.Nil(t, m)
	require.Empty(t, s.client.Status())

	q, ok := s.server.server.responder.Read(s.client.sent[0])
	require.True(t, ok)
	require.Nil(t, q.Behind(1))
	require.Nil(t, q.Refuse(Rejected{Reason: "no"}))
}

// The client asks every 5 s and a little, and for new keys when they are 120 s old. No packet is
// lost by that, although the server goes on with the old keys until the first packet under the
// new ones comes, and that one is lost here.
func TestFormatTimes(t *testing.T) {
	s := simulateForeign(t)
	lost := true
	s.fate = func(from *node, m []byte) []time.Duration {
		if lost {
			return nil
		}
		return []time.Duration{s.latency}
	}
	s.run(14 * time.Second)
	require.Len(t, s.client.sent, 3, "at 0, 5.17 and 10.33 s")
	lost = false
	s.connect()
	asked := count(s.client.sent, typeInitiation)
	dropFirst := false
	s.fate = func(from *node, m []byte) []time.Duration {
		if dropFirst && from == s.client && messageType(m) == typeData {
			return nil
		}
		return []time.Duration{s.latency}
	}
	s.run(110 * time.Second)
	require.Equal(t, asked, count(s.client.sent, typeInitiation))
	dropFirst = true
	s.run(10 * time.Second)
	require.Equal(t, asked+1, count(s.client.sent, typeInitiation))
	require.NotNil(t, s.server.keys.Load().next)
	// For 50 s, the server hears nothing, and sends under the old keys.
	for range 50 {
		require.True(t, s.write(s.server, ipPacket("down")))
		s.run(time.Second)
	}
	require.Len(t, s.client.inside, 50)
	dropFirst = false
	require.True(t, s.write(s.client, ipPacket("up")))
	s.run(time.Second)
	require.Nil(t, s.server.keys.Load().next)
	require.True(t, s.write(s.server, ipPacket("down")))
	s.run(time.Second)
	require.Len(t, s.client.inside, 51)
	require.Len(t, s.server.inside, 1)
}

// A side that hears packets and has none to send shows after 10 s that it is there. A client that
// hears nothing for 15 s after a packet asks for new keys.
func TestFormatSilence(t *testing.T) {
	s := simulateForeign(t)
	s.run(time.Second)
	require.True(t, s.write(s.client, ipPacket("up")))
	n := len(s.server.sent)
	s.run(9 * time.Second)
	require.Len(t, s.server.sent, n)
	s.run(2 * time.Second)
	require.Len(t, s.server.sent, n+1)

	s.fate = func(*node, []byte) []time.Duration { return nil }
	asked := count(s.client.sent, typeInitiation)
	require.True(t, s.write(s.client, ipPacket("up")))
	s.run(14 * time.Second)
	require.Equal(t, asked, count(s.client.sent, typeInitiation))
	s.run(2 * time.Second)
	require.Equal(t, asked+1, count(s.client.sent, typeInitiation))
}

// A client that leaves the Format's room for nothing else is refused.
func TestFormatConfig(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"payload":     func(c *Config) { c.Payload = []byte("x") },
		"new payload": func(c *Config) { c.NewPayload = func() []byte { return nil } },
		"on payload":  func(c *Config) { c.OnPayload = func([]byte) error { return nil } },
		"on control":  func(c *Config) { c.OnControl = func(byte, []byte) error { return nil } },
		"other":       func(c *Config) { c.Other = &c.Handshake },
	} {
		cfg := foreignConfig(1)
		change(&cfg)
		_, err := NewResponder(cfg)
		require.ErrorContains(t, err, "with a Format", what)
	}
}

// Neither side of one format takes the other's initiation for its own, nor for that of an older
// version.
func TestFormatsDoNotMix(t *testing.T) {
	for _, c := range [][2]Config{{foreignConfig(1), config(1)}, {config(1), foreignConfig(1)}} {
		client, _ := c[0].complete(true)
		server, _ := c[1].complete(false)
		p := newPeer(client, NewTable(1), nobody{}, slog.Default(), true)
		p.initiator.cfg = client
		m, err := p.initiator.initiate(p.table.reserve(p), time.Now())
		require.NoError(t, err)
		_, ok := (&Responder{server}).Read(m)
		require.False(t, ok)
	}
}
