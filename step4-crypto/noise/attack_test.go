package noise

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// forgeIK writes the first message of IK, by one who has a secret result for
// "ss" but need not have the private key that belongs to static.
func forgeIK(t *testing.T, suite Suite, static PublicKey, ss []byte) []byte {
	t.Helper()
	cfg, _ := configs(suite, IK)
	h := begin(t, cfg)
	h.e = PrivateKey(count(7, KeyLen)).ecdh()
	e := h.e.PublicKey().Bytes()
	h.mixEphemeral(e)
	require.NoError(t, h.mixSecret("es"))
	message := h.symmetric.encryptAndHash(e, static[:])
	h.symmetric.mixKey(ss)
	return h.symmetric.encryptAndHash(message, []byte("forged"))
}

// TestLowOrderStatic: an initiator's static key of low order would make "ss"
// zero, so anyone could compute it. Every tag in this message is right for that
// zero, so only the check of RFC 7748, section 6.1, refuses it.
func TestLowOrderStatic(t *testing.T) {
	for _, suite := range suites {
		_, cfgR := configs(suite, IK)
		for _, point := range lowOrder() {
			high := point
			high[31] |= 0x80 // X25519 ignores this bit
			for _, static := range []PublicKey{point, high} {
				responder := begin(t, cfgR)
				before := stateOf(responder)
				_, err := responder.ReadMessage(nil, forgeIK(t, suite, static, make([]byte, KeyLen)))
				require.ErrorContains(t, err, "noise: ss: ")
				require.ErrorContains(t, err, "low order")
				require.Equal(t, before, stateOf(responder))
			}
		}

		// The forger's message is good when the key is.
		other := PrivateKey(count(9, KeyLen))
		public := staticR.Public()
		payload, err := begin(t, cfgR).ReadMessage(nil, forgeIK(t, suite, other.Public(), dh(t, other[:], public[:])))
		require.NoError(t, err)
		require.Equal(t, "forged", string(payload))
	}
}

// TestImpostor: without the responder's private key, nobody reads the first
// message of IK, and nobody answers it from what is in the clear.
func TestImpostor(t *testing.T) {
	other := PrivateKey(count(9, KeyLen))
	for _, suite := range suites {
		for _, pattern := range []Pattern{IK, IKpsk2} {
			cfgI, cfgR := configs(suite, pattern)
			cfgR.Static = &other
			initiator, impostor := begin(t, cfgI), begin(t, cfgR)
			message, err := initiator.WriteMessage(nil, nil)
			require.NoError(t, err)
			_, err = impostor.ReadMessage(nil, message)
			require.ErrorIs(t, err, errOpen)

			re, rs := PublicKey(message[:KeyLen]), staticI.Public()
			impostor.re, impostor.rs, impostor.next = re.ecdh(), rs.ecdh(), 1
			answer, err := impostor.WriteMessage(nil, nil)
			require.NoError(t, err)
			before := stateOf(initiator)
			_, err = initiator.ReadMessage(nil, answer)
			require.ErrorIs(t, err, errOpen)
			require.Equal(t, before, stateOf(initiator))
		}
	}
}

// TestAnswerToAnother: an answer belongs to one first message, and a message that
// comes back to its sender is none.
func TestAnswerToAnother(t *testing.T) {
	each(t, func(t *testing.T, suite Suite, pattern Pattern) {
		cfgI, cfgR := configs(suite, pattern)
		old := exchange(t, begin(t, cfgI), begin(t, cfgR), nil)

		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		first, err := initiator.WriteMessage(nil, nil)
		require.NoError(t, err)
		before := stateOf(initiator)
		for _, wrong := range [][]byte{old[1], old[0], first} {
			_, err = initiator.ReadMessage(nil, wrong)
			require.ErrorIs(t, err, errOpen)
			require.Equal(t, before, stateOf(initiator))
		}
		_, err = responder.ReadMessage(nil, first)
		require.NoError(t, err)
		answer, err := responder.WriteMessage(nil, nil)
		require.NoError(t, err)
		_, err = initiator.ReadMessage(nil, answer)
		require.NoError(t, err)
	})
}

// TestForwardSecrecy: eve has recorded a handshake, and steals the pre-shared key later.
// She can do all that both sides did, except "ee", so she opens nothing.
func TestForwardSecrecy(t *testing.T) {
	for _, suite := range suites {
		cfgI, cfgR := configs(suite, NNpsk0)
		initiator, responder := begin(t, cfgI), begin(t, cfgR)
		recorded := exchange(t, initiator, responder, nil)
		eve := func(knowsPrivate bool) *Cipher {
			h := begin(t, cfgR)
			require.NoError(t, h.mixSecret("psk"))
			h.mixEphemeral(recorded[0][:KeyLen])
			_, err := h.symmetric.decryptAndHash(nil, recorded[0][KeyLen:])
			require.NoError(t, err, "the first message has no forward secrecy yet")
			h.mixEphemeral(recorded[1][:KeyLen])
			if knowsPrivate {
				h.e, h.re = responder.e, initiator.e.PublicKey()
				require.NoError(t, h.mixSecret("ee"))
			}
			keys, _ := h.symmetric.split()
			return keys
		}
		knowing, guessing := eve(true), eve(false)
		send, _, err := initiator.Split()
		require.NoError(t, err)
		sealed := send.Seal(nil, 0, nil, []byte("secret"))
		_, err = knowing.Open(nil, 0, nil, sealed)
		require.NoError(t, err, "she would open it with an ephemeral private key, or the test shows nothing")
		_, err = guessing.Open(nil, 0, nil, sealed)
		require.ErrorIs(t, err, errOpen, "a thief of the pre-shared key reads what was recorded before")
	}
}

// TestOpenShowsNothing: of a message that does not authenticate, no plaintext is
// left where it would have been opened, in place or not.
func TestOpenShowsNothing(t *testing.T) {
	secret := bytes.Repeat([]byte("secret"), 50)
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		for _, inPlace := range []bool{true, false} {
			open := func(sealed []byte) (buf []byte, err error) {
				buf = append([]byte("head"), sealed...)
				ciphertext := buf[4:]
				if !inPlace {
					ciphertext = sealed
				}
				_, err = c.Open(buf[:4], 1, nil, ciphertext)
				require.Equal(t, "head", string(buf[:4]))
				return buf, err
			}
			sealed := c.Seal(nil, 1, nil, secret)
			buf, err := open(sealed)
			require.NoError(t, err)
			require.True(t, bytes.Contains(buf, secret), "the search finds it when it is there")
			buf, err = open(flip(sealed, 8*len(sealed)-1)) // in the tag
			require.ErrorIs(t, err, errOpen)
			require.False(t, bytes.Contains(buf, []byte("secret")))
		}
	}
}

// TestChaCha20Poly1305Counter is RFC 8439, appendix A.5. Its nonce begins with
// four zero bytes, so a Cipher can have it, with the rest as its counter.
func TestChaCha20Poly1305Counter(t *testing.T) {
	key := [KeyLen]byte(unhex(t, "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"))
	ad := unhex(t, "f33388860000000000004e91")
	sealed := unhex(t, "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0"+
		"bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"+
		"9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e9"+
		"9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"+
		"0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130"+
		"305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709b eead9d67890cbb22392336fea1851f38")
	const counter = 0x0807060504030201
	c := newCipher(ChaChaPolyBLAKE2s, &key)
	text, err := c.Open(nil, counter, ad, sealed)
	require.NoError(t, err)
	require.Contains(t, string(text), "Internet-Drafts are draft documents valid for a maximum of six months")
	require.Equal(t, sealed, c.Seal(nil, counter, ad, text))
}
