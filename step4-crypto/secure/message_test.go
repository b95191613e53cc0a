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
	require.Equal(t, []byte{1, 0, 0, 0, 4, 3, 2, 1}, newInitiation(0x01020304))

	r, ok := parseResponse(append(newResponse(0x01020304, 0x05060708), noise...))
	require.True(t, ok)
	require.Equal(t, response{0x01020304, 0x05060708, noise}, r)
	require.Equal(t, []byte{2, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5}, newResponse(0x01020304, 0x05060708))

	header := appendDataHeader(nil, 0x01020304, 0x05060708090a0b0c)
	require.Equal(t, []byte{4, 0, 0, 0, 4, 3, 2, 1, 12, 11, 10, 9, 8, 7, 6, 5}, header)
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
		"initiation": {func(m []byte) bool { _, ok := parseInitiation(m); return ok }, 1, 8 + 48, 8 + 96 + 8 + 1024},
		"response":   {func(m []byte) bool { _, ok := parseResponse(m); return ok }, 2, 12 + 48, 12 + 96 + 8 + 1024},
		"data":       {func(m []byte) bool { _, ok := parseData(m); return ok }, 4, 32, 65535},
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
	ipv4, ipv6 := ipPacket("hello"), make([]byte, 45)
	ipv6[0], ipv6[5] = 0x60, 5
	for _, c := range []struct {
		plaintext string
		want      Kind
		content   string
	}{
		{"", Keepalive, ""},
		{string(ipv4), Packet, string(ipv4)},
		{string(ipv4) + "\x00\x00", Packet, string(ipv4)},
		{string(ipv4[:24]), None, ""},
		{string(ipv4[:19]), None, ""},
		{"\x45\x00\x00\x13" + string(make([]byte, 16)), None, ""}, // shorter than its header
		{string(ipv6), Packet, string(ipv6)},
		{string(ipv6) + "\x00", Packet, string(ipv6)},
		{string(ipv6[:44]), None, ""},
		{"\x45", None, ""},
		{"\x60\x00\x00", None, ""},
		{"\x00\x01\x00\x00", Closed, ""},
		{"\x00\x01\x00\x00\x00\x00", Closed, ""}, // padded
		{"\x00\x01\x00", None, ""},
		{"\x00", None, ""},
		{"\x00\x00\x00\x00", None, ""},
		{"\x00\x02\x00\x00", Control, ""},
		{"\x00\xff\x03\x00abc", Control, "abc"},
		{"\x00\xff\x03\x00abc\x00", Control, "abc"},
		{"\x00\xff\x04\x00abc", None, ""}, // longer than there is
		{"\x00\xff\x00\x01abc", None, ""},
		{"\x00\x01\x04\x00\x00why", Closed, "\x00why"},
		{"\x00\x01\x04\x00\x01why", Closed, "\x01why"},
		{"\x00\x01\x04\x00\x02why", None, ""},
		{"\x00\x01\x04\x00\x00a\nb", None, ""},
		{"\x00\x01\x01\x00\x00", None, ""},
		{"\x04", None, ""},
		{"\x50" + string(make([]byte, 40)), None, ""},
		{"\xf0" + string(make([]byte, 40)), None, ""},
	} {
		k, _, content := contentOf([]byte(c.plaintext))
		require.Equal(t, c.want, k, "%x", c.plaintext)
		require.Equal(t, c.content, string(content), "%x", c.plaintext)
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
