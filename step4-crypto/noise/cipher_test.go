package noise

import (
	"bytes"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNonce holds the one difference that is easy to get wrong: Noise counts
// big-endian for AES-GCM and little-endian for ChaCha20-Poly1305 (section 12).
func TestNonce(t *testing.T) {
	for _, v := range []struct {
		suite Suite
		nonce string
	}{
		{AESGCMSHA256, "00000000 0102030405060708"},
		{ChaChaPolyBLAKE2s, "00000000 0807060504030201"},
	} {
		key := [KeyLen]byte(count(1, KeyLen))
		aead, err := v.suite.newAEAD(key[:])
		require.NoError(t, err)
		want := aead.Seal(nil, unhex(t, v.nonce), []byte("text"), []byte("header"))
		got := newCipher(v.suite, &key).Seal(nil, 0x0102030405060708, []byte("header"), []byte("text"))
		require.Equal(t, want, got, v.suite.name)
	}
}

func TestSealOpen(t *testing.T) {
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		ad := []byte("header")
		for _, n := range []int{0, 1, 64, 1420, 65535} {
			text := bytes.Repeat([]byte{7}, n)
			sealed := c.Seal([]byte("front"), 5, ad, text)
			require.Len(t, sealed, 5+n+TagLen)
			require.Equal(t, "front", string(sealed[:5]))
			opened, err := c.Open([]byte("before"), 5, ad, sealed[5:])
			require.NoError(t, err)
			require.Equal(t, "before"+string(text), string(opened))

			// In place, as the packet path does it: the header is in front.
			packet := make([]byte, len(ad)+n, len(ad)+n+TagLen)
			copy(packet, ad)
			copy(packet[len(ad):], text)
			packet = c.Seal(packet[:len(ad)], 5, packet[:len(ad)], packet[len(ad):])
			require.Equal(t, sealed[5:], packet[len(ad):])
			opened, err = c.Open(packet[len(ad):len(ad)], 5, packet[:len(ad)], packet[len(ad):])
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, opened))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		other := newCipher(suite, &[KeyLen]byte{1})
		ad := []byte("header")
		sealed := c.Seal(nil, 5, ad, []byte("text"))
		refused := func(c *Cipher, counter uint64, ad, sealed []byte) {
			t.Helper()
			_, err := c.Open(nil, counter, ad, sealed)
			require.EqualError(t, err, "noise: the message does not authenticate")
		}
		refused(other, 5, ad, sealed)
		refused(c, 4, ad, sealed)
		refused(c, 5, ad[1:], sealed)
		refused(c, 5, nil, sealed)
		for n := range sealed {
			refused(c, 5, ad, sealed[:n])
		}
		for bit := range 8 * len(sealed) {
			refused(c, 5, ad, flip(sealed, bit))
		}
		for bit := range 8 * len(ad) {
			refused(c, 5, flip(ad, bit), sealed)
		}
		_, err := c.Open(nil, 5, ad, sealed)
		require.NoError(t, err)
	}
}

// TestReservedCounter seals at 2^64-1 with the AEAD below, to show that it is
// the counter that is refused, not the message.
func TestReservedCounter(t *testing.T) {
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		nonce := c.nonce(math.MaxUint64)
		sealed := c.aead.Seal(nil, nonce[:], []byte("text"), nil)
		_, err := c.aead.Open(nil, nonce[:], sealed, nil)
		require.NoError(t, err)
		_, err = c.Open(nil, math.MaxUint64, nil, sealed)
		require.Error(t, err)
		require.Panics(t, func() { c.Seal(nil, math.MaxUint64, nil, []byte("text")) })

		opened, err := c.Open(nil, math.MaxUint64-1, nil, c.Seal(nil, math.MaxUint64-1, nil, []byte("text")))
		require.NoError(t, err)
		require.Equal(t, "text", string(opened))
	}
}

// TestCipherConcurrent would show, if two goroutines shared a nonce's scratch
// space, messages sealed under the wrong counter; -race would show it too.
func TestCipherConcurrent(t *testing.T) {
	const goroutines, messages = 8, 500
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		var want, got [goroutines * messages][]byte
		for i := range want {
			want[i] = c.Seal(nil, uint64(i), nil, []byte("text"))
		}
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := g; i < len(got); i += goroutines {
					got[i] = c.Seal(nil, uint64(i), nil, []byte("text"))
					if _, err := c.Open(nil, uint64(i), nil, want[i]); err != nil {
						t.Errorf("message %d: %v", i, err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, want, got)
	}
}

// TestCipherDoesNotAllocate holds with -race too: there sync.Pool drops a part of
// what is put back, on purpose, but AllocsPerRun rounds the mean down.
func TestCipherDoesNotAllocate(t *testing.T) {
	for _, suite := range suites {
		c := newCipher(suite, new([KeyLen]byte))
		other := newCipher(suite, &[KeyLen]byte{1})
		for _, n := range []int{0, 64, 1400, 1420} {
			header, text := make([]byte, 16), make([]byte, n)
			sealed := make([]byte, 0, n+TagLen)
			opened := make([]byte, 0, n)
			var counter uint64
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				sealed = c.Seal(sealed[:0], counter, header, text)
				counter++
			}), "%s: Seal of %d bytes", suite.name, n)
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				var err error
				if opened, err = c.Open(opened[:0], counter-1, header, sealed); err != nil {
					t.Fatal(err)
				}
			}), "%s: Open of %d bytes", suite.name, n)
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				if _, err := other.Open(opened[:0], counter-1, header, sealed); err == nil {
					t.Fatal("opened with the wrong key")
				}
			}), "%s: Open of %d forged bytes", suite.name, n)
		}
	}
}
