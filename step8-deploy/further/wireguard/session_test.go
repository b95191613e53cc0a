package wireguard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// ipv4 returns a packet of some size, with the number n in it.
func ipv4(n, size int) []byte {
	p := make([]byte, size)
	p[0], p[2], p[3] = 0x45, byte(size>>8), byte(size)
	p[size-1] = byte(n)
	return p
}

// Both ends of a session in the Format understand each other, with and without a pre-shared
// key; and with another key there is no session.
func TestSession(t *testing.T) {
	psk := &[noise.KeyLen]byte{1}
	for _, c := range []struct {
		server, client *[noise.KeyLen]byte
		in             bool
	}{{nil, nil, true}, {psk, psk, true}, {psk, nil, false}} {
		t.Run(fmt.Sprint(c.in, c.server != nil), func(t *testing.T) {
			a, z := link.Pipe(16)
			own, theirs := noise.GenerateKey(), noise.GenerateKey()
			public := theirs.Public()
			drops := new(link.Drops)
			server, err := secure.Server(z, secure.Config{Handshake: Handshake(theirs, nil, c.server), Format: Format, Drops: drops, MTU: 1420})
			require.NoError(t, err)
			defer server.Close()
			got := make(chan []byte, 10)
			go func() {
				for b := link.NewBurst(); server.ReadBurst(b) == nil; {
					for i := range b.Len() {
						got <- bytes.Clone(b.At(i))
					}
				}
			}()
			client, err := secure.Client(t.Context(), a, secure.Config{Handshake: Handshake(own, &public, c.client), Format: Format, Drops: drops, Tries: 1, MTU: 1420})
			if !c.in {
				require.ErrorIs(t, err, secure.ErrUnread)
				return
			}
			require.NoError(t, err)
			defer client.Close()
			for n, size := range []int{20, 84, 1419, 1420} {
				b := link.NewBurst()
				copy(b.Alloc(size), ipv4(n, size))
				require.NoError(t, client.WriteBurst(b))
				select {
				case p := <-got:
					require.Equal(t, ipv4(n, size), p)
				case <-time.After(time.Minute):
					t.Fatal("no packet: ", drops)
				}
			}
			require.NoError(t, client.Control(secure.FirstKind, []byte("x"))) // which a Format has not
			require.Equal(t, "no-session 1", drops.String())
		})
	}
}

// A timestamp is later than all before, also when many are made within its resolution, and
// says the time to 17 ms.
func TestTAI64N(t *testing.T) {
	require.Equal(t, []byte{0x40, 0, 0, 0, 0, 0, 0, 0x0b, 0x3b, 0, 0, 0}, appendTAI64N(nil, 1e9+0x3b9aca00-1))
	now := uint64(time.Now().UnixNano())
	last, text := uint64(0), []byte(nil)
	for range 1000 {
		next := nextTAI64N(last, now)
		require.Greater(t, next, last)
		said := appendTAI64N(nil, next)
		require.Equal(t, 1, bytes.Compare(said, text))
		read, ok := parseTAI64N(said)
		require.True(t, ok)
		require.Equal(t, next, read)
		last, text = next, said
	}
	require.InDelta(t, float64(now), float64(nextTAI64N(0, now)), tai64nUnit)
	for _, bad := range [][]byte{nil, text[:11], append(text, 0), bytes.Repeat([]byte{0xff}, 12), make([]byte, 12), append(bytes.Clone(text[:8]), 0xff, 0, 0, 0)} {
		_, ok := parseTAI64N(bad)
		require.False(t, ok, "%x", bad)
	}
}

func FuzzTAI64N(f *testing.F) {
	f.Add(appendTAI64N(nil, 1<<60))
	f.Fuzz(func(t *testing.T, m []byte) {
		at, ok := parseTAI64N(m)
		if !ok {
			return
		}
		said := appendTAI64N(nil, at)
		if !bytes.Equal(said[:8], m[:8]) || said[8] != m[8] {
			t.Fatalf("%x is read as %d, which is written as %x", m, at, said)
		}
		if next := nextTAI64N(at, 0); next <= at || bytes.Compare(appendTAI64N(nil, next), said) <= 0 {
			t.Fatalf("after %d comes %d", at, next)
		}
	})
}
