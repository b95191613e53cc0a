package secure

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessages(t *testing.T) {
	noise := bytes.Repeat([]byte{7}, minNoise)

	i, ok := parseInitiation(append(newInitiation(0x01020304), noise...))
	require.True(t, ok)
	require.Equal(t, initiation{0x01020304, noise}, i)
	require.Equal(t, []byte{1, 0, 0, 0, 1, 2, 3, 4}, newInitiation(0x01020304))

	r, ok := parseResponse(append(newResponse(0x01020304, 0x05060708), noise...))
	require.True(t, ok)
	require.Equal(t, response{0x01020304, 0x05060708, noise}, r)
	require.Equal(t, []byte{2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, newResponse(0x01020304, 0x05060708))

	header := appendDataHeader(nil, 0x01020304, 0x05060708090a0b0c)
	require.Equal(t, []byte{3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, header)
	d, ok := parseData(append(header, noise...))
	require.True(t, ok)
	require.Equal(t, data{0x01020304, 0x05060708090a0b0c, header, noise}, d)
}

// Each message has a shortest and a longest length, and no reserved bits set.
func TestMessageLimits(t *testing.T) {
	parsers := map[string]struct {
		parses            func(m []byte) bool
		kind              byte
		shortest, longest int
	}{
		"initiation": {func(m []byte) bool { _, ok := parseInitiation(m); return ok }, 1, 8 + 48, 8 + 96 + 1024},
		"response":   {func(m []byte) bool { _, ok := parseResponse(m); return ok }, 2, 12 + 48, 12 + 96 + 1024},
		"data":       {func(m []byte) bool { _, ok := parseData(m); return ok }, 3, 32, 65535},
	}
	for name, p := range parsers {
		t.Run(name, func(t *testing.T) {
			for n := range 1200 {
				m := make([]byte, n)
				if n > 0 {
					m[0] = p.kind
				}
				require.Equal(t, p.shortest <= n && n <= p.longest, p.parses(m), "length %d", n)
			}
			m := make([]byte, p.shortest)
			for kind := range 256 {
				m[0] = byte(kind)
				require.Equal(t, byte(kind) == p.kind, p.parses(m), "type %d", kind)
			}
			m[0] = p.kind
			for bit := 8; bit < 32; bit++ {
				m[bit/8] ^= 1 << (bit % 8)
				require.False(t, p.parses(m), "reserved bit %d", bit)
				m[bit/8] = 0
			}
			require.True(t, p.parses(m))
		})
	}
}

func TestContent(t *testing.T) {
	for _, c := range []struct {
		plaintext string
		want      content
	}{
		{"", keepalive},
		{"\x45", packet},
		{"\x4f\x00", packet},
		{"\x60\x00\x00", packet},
		{"\x00\x01", closing},
		{"\x00", unknown},
		{"\x00\x00", unknown},
		{"\x00\x02", control},
		{"\x00\xffabc", control},
		{"\x00\x01\x00why", closing},
		{"\x00\x01\x01why", closing},
		{"\x00\x01\x02why", unknown},
		{"\x00\x01\x00two\nlines", unknown},
		{"\x00\x01\x00", unknown},
		{"\x04", unknown},
		{"\x50", unknown},
		{"\xf0", unknown},
	} {
		require.Equal(t, c.want, contentOf([]byte(c.plaintext)), "%x", c.plaintext)
	}
}

// Whatever parses is a message of one type only, and its parts are all of it.
func FuzzMessages(f *testing.F) {
	noise := make([]byte, minNoise)
	f.Add([]byte{})
	f.Add(append(newInitiation(1), noise...))
	f.Add(append(newResponse(1, 2), noise...))
	f.Add(append(appendDataHeader(nil, 1, 2), noise...))
	f.Fuzz(func(t *testing.T, m []byte) {
		contentOf(m)
		parsed := 0
		if i, ok := parseInitiation(m); ok {
			parsed++
			require.Equal(t, m, append(newInitiation(i.sender), i.noise...))
		}
		if r, ok := parseResponse(m); ok {
			parsed++
			require.Equal(t, m, append(newResponse(r.sender, r.receiver), r.noise...))
		}
		if d, ok := parseData(m); ok {
			parsed++
			require.Equal(t, m, append(appendDataHeader(nil, d.receiver, d.counter), d.sealed...))
			require.Equal(t, m, append(bytes.Clone(d.header), d.sealed...))
		}
		require.LessOrEqual(t, parsed, 1)
	})
}
