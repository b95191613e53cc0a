package noise

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// reading is a handshake that waits for a message, and the message.
type reading struct {
	h       *Handshake
	genuine []byte
}

// handshakesThatRead returns one handshake for each pattern and suite, of the
// role asked for. The keys are fixed, so that a fuzzer's inputs keep their meaning.
func handshakesThatRead(f *testing.F, initiator bool) (waiting []reading) {
	for _, suite := range suites {
		for _, pattern := range patterns {
			cfgI, cfgR := configs(suite, pattern)
			hI, hR := begin(f, cfgI), begin(f, cfgR)
			hI.generate = func() PrivateKey { return PrivateKey(count(4, KeyLen)) }
			hR.generate = func() PrivateKey { return PrivateKey(count(5, KeyLen)) }
			message, err := hI.WriteMessage(nil, []byte("payload"))
			require.NoError(f, err)
			if !initiator {
				waiting = append(waiting, reading{hR, message})
				continue
			}
			_, err = hR.ReadMessage(nil, message)
			require.NoError(f, err)
			message, err = hR.WriteMessage(nil, []byte("payload"))
			require.NoError(f, err)
			waiting = append(waiting, reading{hI, message})
		}
	}
	return waiting
}

// fuzzRead: whatever arrives, nothing panics, only the genuine message is
// accepted, and anything else leaves the handshake ready for it.
func fuzzRead(f *testing.F, initiator bool) {
	waiting := handshakesThatRead(f, initiator)
	for i, w := range waiting {
		f.Add(uint8(i), w.genuine)
		f.Add(uint8(i), w.genuine[:len(w.genuine)-1])
		f.Add(uint8(i), w.genuine[:KeyLen])
	}
	f.Add(uint8(0), []byte{})
	f.Fuzz(func(t *testing.T, which uint8, message []byte) {
		w := waiting[int(which)%len(waiting)]
		h := *w.h // a copy: ReadMessage never writes through the pointers in it
		before := stateOf(&h)
		payload, err := h.ReadMessage(nil, message)
		if bytes.Equal(message, w.genuine) {
			require.NoError(t, err)
			require.Equal(t, "payload", string(payload))
			return
		}
		require.Error(t, err)
		require.Nil(t, payload)
		require.Equal(t, before, stateOf(&h))
	})
}

func FuzzReadMessageInitiator(f *testing.F) { fuzzRead(f, true) }

func FuzzReadMessageResponder(f *testing.F) { fuzzRead(f, false) }

// FuzzOpen: only what was sealed opens.
func FuzzOpen(f *testing.F) {
	header, text := []byte("header"), []byte("text")
	for i, suite := range suites {
		f.Add(uint8(i), uint64(5), header, newCipher(suite, new([KeyLen]byte)).Seal(nil, 5, header, text))
	}
	f.Fuzz(func(t *testing.T, which uint8, counter uint64, ad, sealed []byte) {
		c := newCipher(suites[int(which)%len(suites)], new([KeyLen]byte))
		opened, err := c.Open(nil, counter, ad, sealed)
		if err == nil {
			// The fuzzer knows the key, so it may find one by luck; it must then
			// be exactly what Seal makes.
			require.Equal(t, sealed, c.Seal(nil, counter, ad, opened))
		}
	})
}
