package noise

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math"
	"testing"

	flynn "github.com/flynn/noise"
	"github.com/stretchr/testify/require"
)

// This file has github.com/flynn/noise as the other side, in both roles.

func flynnSuite(suite Suite) flynn.CipherSuite {
	if suite.name == AESGCMSHA256.name {
		return flynn.NewCipherSuite(flynn.DH25519, flynn.CipherAESGCM, flynn.HashSHA256)
	}
	return flynn.NewCipherSuite(flynn.DH25519, flynn.CipherChaChaPoly, flynn.HashBLAKE2s)
}

// flynnHandshake makes the other implementation's handshake from our Config.
func flynnHandshake(t *testing.T, cfg Config) *flynn.HandshakeState {
	t.Helper()
	c := flynn.Config{
		CipherSuite: flynnSuite(cfg.Suite),
		Random:      rand.Reader,
		Initiator:   cfg.Initiator,
		Prologue:    cfg.Prologue,
	}
	switch cfg.Pattern.name {
	case NNpsk0.name:
		c.Pattern, c.PresharedKeyPlacement = flynn.HandshakeNN, 0
	case IK.name:
		c.Pattern = flynn.HandshakeIK
	case IKpsk2.name:
		c.Pattern, c.PresharedKeyPlacement = flynn.HandshakeIK, 2
	}
	if cfg.PSK != nil {
		c.PresharedKey = cfg.PSK[:]
	}
	if cfg.Static != nil {
		public := cfg.Static.Public()
		c.StaticKeypair = flynn.DHKey{Private: cfg.Static[:], Public: public[:]}
	}
	if cfg.PeerStatic != nil {
		c.PeerStatic = cfg.PeerStatic[:]
	}
	h, err := flynn.NewHandshakeState(c)
	require.NoError(t, err)
	return h
}

func TestWithFlynn(t *testing.T) {
	payloads := map[string][]byte{
		"no":    nil,
		"small": []byte("payload"),
		"large": bytes.Repeat([]byte("large"), 13_000), // 65,000 bytes
	}
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		for _, initiator := range []bool{true, false} {
			for size, payload := range payloads {
				for _, prologue := range []string{"", "prologue", string(make([]byte, 1000))} {
					name := fmt.Sprintf("initiator=%v/%s payload/prologue of %d", initiator, size, len(prologue))
					t.Run(name, func(t *testing.T) { withFlynn(t, suite, pattern, initiator, payload, []byte(prologue)) })
				}
			}
		}
	})
}

func withFlynn(t *testing.T, suite Suite, pattern Pattern, initiator bool, payload, prologue []byte) {
	ourCfg, theirCfg := configs(suite, pattern)
	if !initiator {
		ourCfg, theirCfg = theirCfg, ourCfg
	}
	ourCfg.Prologue, theirCfg.Prologue = prologue, prologue
	ours, theirs := begin(t, ourCfg), flynnHandshake(t, theirCfg)

	var toResponder, toInitiator *flynn.CipherState
	for i := range pattern.messages {
		if (i%2 == 0) == initiator {
			message, err := ours.WriteMessage(nil, payload)
			require.NoError(t, err)
			var got []byte
			got, toResponder, toInitiator, err = theirs.ReadMessage(nil, message)
			require.NoError(t, err)
			require.True(t, bytes.Equal(payload, got))
		} else {
			var message []byte
			var err error
			message, toResponder, toInitiator, err = theirs.WriteMessage(nil, payload)
			require.NoError(t, err)
			got, err := ours.ReadMessage(nil, message)
			require.NoError(t, err)
			require.True(t, bytes.Equal(payload, got))
		}
	}
	require.True(t, ours.Done())
	require.Equal(t, theirs.ChannelBinding(), ours.hash())
	if ourCfg.Static != nil {
		peer, known := ours.PeerStatic()
		require.True(t, known)
		require.Equal(t, theirCfg.Static.Public(), peer)
		require.Equal(t, theirs.PeerStatic(), unhex(t, fmt.Sprintf("%x", ourCfg.Static.Public())))
	}

	send, receive, err := ours.Split()
	require.NoError(t, err)
	theirReceive, theirSend := toResponder, toInitiator
	if !initiator {
		theirReceive, theirSend = toInitiator, toResponder
	}
	header := []byte("header")
	for _, counter := range []uint64{0, 1, 2, 3, 255, 256, 1 << 32, math.MaxUint64 - 1} {
		theirReceive.SetNonce(counter)
		got, err := theirReceive.Decrypt(nil, header, send.Seal(nil, counter, header, payload))
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))

		theirSend.SetNonce(counter)
		sealed, err := theirSend.Encrypt(nil, header, payload)
		require.NoError(t, err)
		got, err = receive.Open(nil, counter, header, sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
	}
}
