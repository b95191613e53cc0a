package noise

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	suites   = []Suite{AESGCMSHA256, ChaChaPolyBLAKE2s}
	patterns = []Pattern{NNpsk0, IK, IKpsk2}

	staticI = PrivateKey(count(1, KeyLen))
	staticR = PrivateKey(count(2, KeyLen))
	psk     = [KeyLen]byte(count(3, KeyLen))
)

// hash returns the 32-byte handshake hash. Once Done, it is the same on both sides and
// in no other handshake (section 11.2).
func (h *Handshake) hash() []byte { return slices.Clone(h.symmetric.h[:]) }

// configs returns what each side needs for a pattern, and no more.
func configs(suite Suite, p Pattern) (initiator, responder Config) {
	initiator = Config{Suite: suite, Pattern: p, Initiator: true, Prologue: []byte("prologue")}
	responder = Config{Suite: suite, Pattern: p, Prologue: []byte("prologue")}
	publicI, publicR := staticI.Public(), staticR.Public()
	knownI, knownR := slices.Contains(p.preInitiator, "s"), slices.Contains(p.preResponder, "s")
	if knownI || p.sends(true, "s") {
		initiator.Static = &staticI
	}
	if knownR || p.sends(false, "s") {
		responder.Static = &staticR
	}
	if knownI {
		responder.PeerStatic = &publicI
	}
	if knownR {
		initiator.PeerStatic = &publicR
	}
	if p.usesPSK() {
		initiator.PSK, responder.PSK = &psk, &psk
	}
	return initiator, responder
}

func begin(t testing.TB, cfg Config) *Handshake {
	t.Helper()
	h, err := New(cfg)
	require.NoError(t, err)
	return h
}

// exchange runs a handshake to its end, and returns its messages.
func exchange(t testing.TB, initiator, responder *Handshake, payload []byte) (messages [][]byte) {
	t.Helper()
	writer, reader := initiator, responder
	for !initiator.Done() || !responder.Done() {
		message, err := writer.WriteMessage(nil, payload)
		require.NoError(t, err)
		got, err := reader.ReadMessage(nil, message)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
		messages = append(messages, message)
		writer, reader = reader, writer
	}
	return messages
}

// flip returns a copy of b with one bit changed.
func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// each runs a test for every pattern and suite.
func each(t *testing.T, test func(t *testing.T, suite Suite, pattern Pattern)) {
	for _, suite := range suites {
		for _, pattern := range patterns {
			t.Run(pattern.name+"_"+suite.name, func(t *testing.T) { test(t, suite, pattern) })
		}
	}
}

// state is everything in a Handshake that a message changes.
type state struct {
	ck, h  [KeyLen]byte
	k      *Cipher
	n      uint64
	next   int
	s, e   *ecdh.PrivateKey
	rs, re *ecdh.PublicKey
	split  bool
}

func stateOf(h *Handshake) state {
	y := h.symmetric
	return state{y.ck, y.h, y.cipher.k, y.cipher.n, h.next, h.s, h.e, h.rs, h.re, h.split}
}

func TestHandshake(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		_, known := responder.PeerStatic()
		require.False(t, known)
		exchange(t, initiator, responder, []byte("payload"))

		require.Equal(t, initiator.hash(), responder.hash())
		require.Len(t, initiator.hash(), 32)
		if cfgI.Static != nil {
			peer, known := responder.PeerStatic()
			require.True(t, known)
			require.Equal(t, staticI.Public(), peer)
			peer, known = initiator.PeerStatic()
			require.True(t, known)
			require.Equal(t, staticR.Public(), peer)
		}

		sendI, receiveI, err := initiator.Split()
		require.NoError(t, err)
		sendR, receiveR, err := responder.Split()
		require.NoError(t, err)
		for _, way := range []struct{ send, receive, other *Cipher }{
			{sendI, receiveR, receiveI}, {sendR, receiveI, receiveR},
		} {
			for counter := range uint64(3) {
				sealed := way.send.Seal(nil, counter, nil, []byte("text"))
				opened, err := way.receive.Open(nil, counter, nil, sealed)
				require.NoError(t, err)
				require.Equal(t, "text", string(opened))
				_, err = way.other.Open(nil, counter, nil, sealed)
				require.Error(t, err, "a message was accepted by its own sender")
			}
		}
	})
}

// TestFreshness: nothing but the long-term keys is the same in two handshakes.
func TestFreshness(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		run := func() (*Handshake, [][]byte) {
			initiator := begin(t, cfgI)
			return initiator, exchange(t, initiator, begin(t, cfgR), []byte("payload"))
		}
		a, messagesA := run()
		b, messagesB := run()
		require.NotEqual(t, a.hash(), b.hash())
		for i := range messagesA {
			require.NotEqual(t, messagesA[i][:KeyLen], messagesB[i][:KeyLen], "the same ephemeral key twice")
		}
		sendA, _, err := a.Split()
		require.NoError(t, err)
		sendB, _, err := b.Split()
		require.NoError(t, err)
		require.NotEqual(t, sendA.Seal(nil, 0, nil, nil), sendB.Seal(nil, 0, nil, nil))
	})
}

// TestPayloadIsEncrypted holds what WriteMessage promises of these patterns.
func TestPayloadIsEncrypted(t *testing.T) {
	payload := []byte("a payload that is easy to find")
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		for i, message := range exchange(t, begin(t, cfgI), begin(t, cfgR), payload) {
			require.False(t, bytes.Contains(message, payload), "message %d", i)
			public := staticI.Public()
			require.False(t, bytes.Contains(message, public[:]), "message %d shows who is calling", i)
		}
	})
	// The same search finds it in NN, whose first message has no key yet.
	cfgI, cfgR := configs(AESGCMSHA256, patternNN)
	messages := exchange(t, begin(t, cfgI), begin(t, cfgR), payload)
	require.True(t, bytes.Contains(messages[0], payload))
}

func TestWrongKeys(t *testing.T) {
	other := PrivateKey(count(9, KeyLen))
	otherPublic := other.Public()
	for _, tt := range []struct {
		name     string
		patterns []Pattern
		change   func(initiator *Config)
		at       []int // the message that is refused, per pattern
	}{
		{"psk", []Pattern{NNpsk0, IKpsk2}, func(c *Config) { c.PSK = (*[32]byte)(&other) }, []int{0, 1}},
		{"responder's static key", []Pattern{IK, IKpsk2}, func(c *Config) { c.PeerStatic = &otherPublic }, []int{0, 0}},
		{"prologue", patterns, func(c *Config) { c.Prologue = []byte("Prologue") }, []int{0, 0, 0}},
		{"no prologue", patterns, func(c *Config) { c.Prologue = nil }, []int{0, 0, 0}},
	} {
		for i, pattern := range tt.patterns {
			for _, suite := range suites {
				t.Run(fmt.Sprintf("%s/%s_%s", tt.name, pattern.name, suite.name), func(t *testing.T) {
					cfgI, cfgR := configs(suite, pattern)
					tt.change(&cfgI)
					initiator, responder := begin(t, cfgI), begin(t, cfgR)
					message, err := initiator.WriteMessage(nil, nil)
					require.NoError(t, err)
					_, err = responder.ReadMessage(nil, message)
					if tt.at[i] == 1 {
						require.NoError(t, err)
						message, err = responder.WriteMessage(nil, nil)
						require.NoError(t, err)
						_, err = initiator.ReadMessage(nil, message)
					}
					require.EqualError(t, err, "noise: the message does not authenticate")
				})
			}
		}
	}
}

// TestWrongInitiator: in IK anyone may call; the responder learns who did, and
// someone without the private key can't finish as them.
func TestWrongInitiator(t *testing.T) {
	other := PrivateKey(count(9, KeyLen))
	cfgI, cfgR := configs(AESGCMSHA256, IK)
	cfgI.Static = &other
	initiator, responder := begin(t, cfgI), begin(t, cfgR)
	exchange(t, initiator, responder, nil)
	peer, _ := responder.PeerStatic()
	require.Equal(t, other.Public(), peer)
	require.NotEqual(t, staticI.Public(), peer)

	// A thief of the public key only: sends it, and can't do "ss".
	initiator, responder = begin(t, cfgI), begin(t, cfgR)
	var message []byte
	initiator.e = GenerateKey().ecdh()
	e := initiator.e.PublicKey().Bytes()
	message = append(message, e...)
	initiator.mixEphemeral(e)
	require.NoError(t, initiator.mixSecret("es"))
	public := staticI.Public()
	message = initiator.symmetric.encryptAndHash(message, public[:])
	require.NoError(t, initiator.mixSecret("ss"))
	message = initiator.symmetric.encryptAndHash(message, nil)
	_, err := responder.ReadMessage(nil, message)
	require.EqualError(t, err, "noise: the message does not authenticate")
	_, known := responder.PeerStatic()
	require.False(t, known, "a key was believed before it was proven")
}

// TestForgedMessages changes every bit of every message, cuts it at every
// length, and lengthens it. Each is refused and changes nothing, and the genuine
// message is accepted after all of them.
func TestForgedMessages(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		writer, reader := initiator, responder
		for i := range pattern.messages {
			message, err := writer.WriteMessage(nil, []byte("payload"))
			require.NoError(t, err)
			before := stateOf(reader)
			refused := func(forged []byte, what string, n int) {
				_, err := reader.ReadMessage(nil, forged)
				require.Error(t, err, "message %d, %s %d", i, what, n)
				require.Equal(t, before, stateOf(reader), "message %d, %s %d", i, what, n)
			}
			for bit := range 8 * len(message) {
				refused(flip(message, bit), "bit", bit)
			}
			for n := range message {
				refused(message[:n], "cut at", n)
			}
			refused(append(bytes.Clone(message), 0), "lengthened by", 1)
			refused(make([]byte, MaxMessage), "zeros", MaxMessage)

			got, err := reader.ReadMessage(nil, message)
			require.NoError(t, err)
			require.Equal(t, "payload", string(got))
			require.NotEqual(t, before, stateOf(reader), "stateOf sees no change")
			writer, reader = reader, writer
		}
		require.Equal(t, initiator.hash(), responder.hash())
	})
}

// lowOrder returns X25519 points of low order: with them any private key gives
// zero, so the "secret" is known to all (RFC 7748, section 6.1).
func lowOrder() []PublicKey {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	number := func(s string) *big.Int {
		n, _ := new(big.Int).SetString(s, 10)
		return n
	}
	var points []PublicKey
	for _, n := range []*big.Int{
		big.NewInt(0),
		big.NewInt(1),
		number("325606250916557431795983626356110631294008115727848805560023387167927233504"),
		number("39382357235489614581723060781553021112529911719440698176882885853963445705823"),
		new(big.Int).Sub(p, big.NewInt(1)),
		p, // not reduced: 0 again
		new(big.Int).Add(p, big.NewInt(1)),
	} {
		var k PublicKey
		n.FillBytes(k[:])
		slices.Reverse(k[:])
		points = append(points, k)
	}
	return points
}

func TestLowOrderPoints(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		for _, point := range lowOrder() {
			// The responder's ephemeral key.
			initiator, responder := begin(t, cfgI), begin(t, cfgR)
			message, err := initiator.WriteMessage(nil, nil)
			require.NoError(t, err)
			_, err = responder.ReadMessage(nil, message)
			require.NoError(t, err)
			message, err = responder.WriteMessage(nil, nil)
			require.NoError(t, err)
			before := stateOf(initiator)
			_, err = initiator.ReadMessage(nil, append(point[:], message[KeyLen:]...))
			require.ErrorContains(t, err, "noise: ee: ")
			require.ErrorContains(t, err, "low order")
			require.Equal(t, before, stateOf(initiator))
			_, err = initiator.ReadMessage(nil, message)
			require.NoError(t, err)

			// The initiator's, from one who has the pre-shared key.
			initiator, responder = begin(t, cfgI), begin(t, cfgR)
			if pattern.name == NNpsk0.name {
				require.NoError(t, initiator.mixSecret("psk"))
				initiator.mixEphemeral(point[:])
				message = initiator.symmetric.encryptAndHash(bytes.Clone(point[:]), nil)
				_, err = responder.ReadMessage(nil, message)
				require.NoError(t, err) // the first Diffie-Hellman comes with the answer
				before = stateOf(responder)
				_, err = responder.WriteMessage(nil, nil)
				require.ErrorContains(t, err, "noise: ee: ")
			} else {
				before = stateOf(responder)
				_, err = responder.ReadMessage(nil, append(point[:], message[KeyLen:]...))
				require.ErrorContains(t, err, "noise: es: ")
			}
			require.ErrorContains(t, err, "low order")
			require.Equal(t, before, stateOf(responder))

			// The responder's static key, as configured.
			if cfgI.PeerStatic != nil {
				cfg := cfgI
				cfg.PeerStatic = &point
				_, err = begin(t, cfg).WriteMessage(nil, nil)
				require.ErrorContains(t, err, "noise: es: ")
			}
		}
	})
}

func TestMaxMessage(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		writer, reader := initiator, responder
		for _, empty := range exchange(t, begin(t, cfgI), begin(t, cfgR), nil) {
			most := MaxMessage - len(empty)
			before := stateOf(writer)
			for _, n := range []int{most + 1, MaxMessage, MaxMessage + 1, 1 << 20} {
				_, err := writer.WriteMessage(nil, make([]byte, n))
				require.EqualError(t, err, "noise: a handshake message is at most 65535 bytes")
			}
			require.Equal(t, before, stateOf(writer))

			message, err := writer.WriteMessage([]byte("front"), make([]byte, most))
			require.NoError(t, err)
			require.Equal(t, "front", string(message[:5]))
			message = message[5:]
			require.Len(t, message, MaxMessage)
			_, err = reader.ReadMessage(nil, append(bytes.Clone(message), 0))
			require.EqualError(t, err, "noise: a handshake message is at most 65535 bytes")
			payload, err := reader.ReadMessage([]byte("front"), message)
			require.NoError(t, err)
			require.Len(t, payload, 5+most)
			require.Equal(t, "front", string(payload[:5]))
			writer, reader = reader, writer
		}
	})
}

func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		_, err := responder.WriteMessage(nil, nil)
		require.EqualError(t, err, "noise: it is the other side's turn")
		_, err = initiator.ReadMessage(nil, make([]byte, 100))
		require.EqualError(t, err, "noise: it is the other side's turn")

		message, err := initiator.WriteMessage(nil, nil)
		require.NoError(t, err)
		_, err = initiator.WriteMessage(nil, nil)
		require.EqualError(t, err, "noise: it is the other side's turn")
		_, _, err = initiator.Split()
		require.EqualError(t, err, "noise: Split comes once, after the last message")
		require.False(t, initiator.Done())

		_, err = responder.ReadMessage(nil, message)
		require.NoError(t, err)
		message, err = responder.WriteMessage(nil, nil)
		require.NoError(t, err)
		_, err = initiator.ReadMessage(nil, message)
		require.NoError(t, err)
		for _, h := range []*Handshake{initiator, responder} {
			require.True(t, h.Done())
			_, err = h.WriteMessage(nil, nil)
			require.EqualError(t, err, "noise: the handshake is complete")
			_, err = h.ReadMessage(nil, message)
			require.EqualError(t, err, "noise: the handshake is complete")
			_, _, err = h.Split()
			require.NoError(t, err)
			_, _, err = h.Split()
			require.EqualError(t, err, "noise: Split comes once, after the last message")
		}
	})
}

// TestSplitDropsSecrets looks for what could decrypt a recording, and shows
// first that it was there.
func TestSplitDropsSecrets(t *testing.T) {
	mine := psk
	cfgI, cfgR := configs(AESGCMSHA256, IKpsk2)
	cfgI.PSK = &mine
	initiator := begin(t, cfgI)
	exchange(t, initiator, begin(t, cfgR), nil)
	require.NotZero(t, initiator.symmetric.ck)
	require.NotZero(t, *initiator.psk)
	require.NotNil(t, initiator.e)
	require.NotNil(t, initiator.symmetric.cipher.k)
	hash := initiator.hash()
	_, _, err := initiator.Split()
	require.NoError(t, err)
	require.Zero(t, initiator.symmetric.ck)
	require.Zero(t, *initiator.psk)
	require.Nil(t, initiator.e)
	require.Nil(t, initiator.s)
	require.Nil(t, initiator.symmetric.cipher.k)
	require.Equal(t, psk, mine, "the caller's key was cleared")
	require.Equal(t, hash, initiator.hash())
}

func TestNewRefuses(t *testing.T) {
	public := staticI.Public()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "noise: Config needs a Pattern and a Suite"},
		{Config{Suite: AESGCMSHA256}, "noise: Config needs a Pattern and a Suite"},
		{Config{Pattern: IK}, "noise: Config needs a Pattern and a Suite"},
		{Config{Suite: AESGCMSHA256, Pattern: NNpsk0}, "noise: pattern NNpsk0 needs Config.PSK on this side"},
		{Config{Suite: AESGCMSHA256, Pattern: NNpsk0, PSK: &psk, Static: &staticI}, "noise: pattern NNpsk0 does not use Config.Static on this side"},
		{Config{Suite: AESGCMSHA256, Pattern: IK, Static: &staticR, PSK: &psk}, "noise: pattern IK does not use Config.PSK on this side"},
		{Config{Suite: AESGCMSHA256, Pattern: IK, Static: &staticR, PeerStatic: &public}, "noise: pattern IK does not use Config.PeerStatic on this side"},
		{
			Config{Suite: AESGCMSHA256, Pattern: IKpsk2, Initiator: true},
			"noise: pattern IKpsk2 needs Config.Static on this side\n" +
				"noise: pattern IKpsk2 needs Config.PeerStatic on this side\n" +
				"noise: pattern IKpsk2 needs Config.PSK on this side",
		},
	} {
		_, err := New(tt.cfg)
		require.EqualError(t, err, tt.want)
	}
}

// The ephemeral key is what the first message says, and is gone with Split.
func TestEphemeral(t *testing.T) {
	cfgI, cfgR := configs(ChaChaPolyBLAKE2s, IK)
	initiator, responder := begin(t, cfgI), begin(t, cfgR)
	_, known := initiator.Ephemeral()
	require.False(t, known, "before it is made")
	m, err := initiator.WriteMessage(nil, nil)
	require.NoError(t, err)
	key, known := initiator.Ephemeral()
	require.True(t, known)
	require.Equal(t, PublicKey(m), key.Public())
	_, err = responder.ReadMessage(nil, m)
	require.NoError(t, err)
	_, err = responder.WriteMessage(nil, nil)
	require.NoError(t, err)
	_, _, err = responder.Split()
	require.NoError(t, err)
	_, known = responder.Ephemeral()
	require.False(t, known)
}
