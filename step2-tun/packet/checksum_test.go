package packet

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The example of RFC 1071, section 3: the sum is ddf2.
func TestChecksumOfTheRFC(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	require.Equal(t, ^uint16(0xddf2), Checksum(b))
}

// A header that Linux made for a ping, as tcpdump showed it.
func TestChecksumOfARealHeader(t *testing.T) {
	h := []byte{
		0x45, 0x00, 0x00, 0x54, 0x60, 0x43, 0x40, 0x00, 0x40, 0x01,
		0xc6, 0x53, 0x0a, 0x08, 0x00, 0x01, 0x0a, 0x08, 0x00, 0x02,
	}
	require.Zero(t, Checksum(h))
	h[10], h[11] = 0, 0
	require.Equal(t, uint16(0xc653), Checksum(h))
}

// wordByWord is the checksum as RFC 1071, section 4.1 writes it down.
func wordByWord(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return ^uint16(sum)
}

// What goes beyond 16 bits is added at the lower end, as often as it takes.
func TestChecksumCarries(t *testing.T) {
	require.Equal(t, ^uint16(0x1234+0x5678), Checksum([]byte{0x12, 0x34, 0x56, 0x78}))
	require.Equal(t, ^uint16(0x0004), Checksum([]byte{0x80, 0x01, 0x80, 0x02}), "the carry is lost: the sum is 10003")
	require.Equal(t, ^uint16(0x0001), Checksum([]byte{0xff, 0xff, 0xff, 0xff, 0x00, 0x01}), "the carry of the carry is lost: the sum is 1ffff")
}

// The last byte has no partner, and counts as if a zero came behind it.
func TestChecksumOfAnOddByte(t *testing.T) {
	require.Equal(t, ^uint16(0x1200), Checksum([]byte{0x12}))
	require.Equal(t, ^uint16(0x1234+0x5600), Checksum([]byte{0x12, 0x34, 0x56}))
	require.Equal(t, ^uint16(0x1234+0x5678+0x0100), Checksum([]byte{0x12, 0x34, 0x56, 0x78, 0x01}))
}

func TestChecksumEqualsWordByWord(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		require.Equal(t, wordByWord(b), Checksum(b), "% x", b)
		for i := range b {
			b[i] = 0xff
		}
		require.Equal(t, wordByWord(b), Checksum(b), "%d times ff", n)
	}
}

// Nothing longer is promised. A sum of 32 bits can just hold 128 KB of ff if it adds two bytes at a time.
func TestChecksumOfTheLongest(t *testing.T) {
	b := bytes.Repeat([]byte{0xff}, 128<<10)
	require.Equal(t, wordByWord(b), Checksum(b), "%d times ff", len(b))
	require.Equal(t, uint16(0), Checksum(b))
}
