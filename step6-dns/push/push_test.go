package push

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	v4 = netip.MustParseAddr("10.8.0.1")
	v6 = netip.MustParseAddr("fd00:8::1")
)

func TestThereAndBack(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a" // 253 bytes
	for _, s := range []Settings{
		{},
		{DNS: []netip.Addr{v4}},
		{DNS: []netip.Addr{v6, v4}, Search: []string{"corp.example", "example", "_x.a-b.c1"}},
		{DNS: []netip.Addr{v4, v6, v4}, Search: []string{long, long, long, long, long, long}},
	} {
		b, err := s.Marshal()
		require.NoError(t, err)
		require.LessOrEqual(t, len(b), 1+MaxDNS*18+MaxSearch*255)
		got, err := Parse(b)
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
}

func TestBytesOnTheWire(t *testing.T) {
	b, err := Settings{DNS: []netip.Addr{v4}, Search: []string{"a.b"}}.Marshal()
	require.NoError(t, err)
	require.Equal(t, []byte{1, 1, 4, 10, 8, 0, 1, 2, 3, 'a', '.', 'b'}, b)
}

// A server of steps 4 and 5 sends nothing, and a newer one more than is known.
func TestOthersVersions(t *testing.T) {
	s, err := Parse(nil)
	require.NoError(t, err)
	require.Zero(t, s)

	s, err = Parse([]byte{1, 99, 2, 'x', 'y', 1, 4, 10, 8, 0, 1, 255, 0})
	require.NoError(t, err)
	require.Equal(t, Settings{DNS: []netip.Addr{v4}}, s)

	_, err = Parse([]byte{2, 1, 4, 10, 8, 0, 1})
	require.EqualError(t, err, "the settings have version 2, but this program knows only version 1: update it")
}

func TestRefused(t *testing.T) {
	search := func(d string) []byte { return Item{typeSearch, []byte(d)}.Append([]byte{1}) }
	dns := func(a ...byte) []byte { return Item{typeDNS, a}.Append([]byte{1}) }
	for _, c := range []struct {
		says  string
		bytes []byte
	}{
		{"settings are cut off", []byte{1, 1}},
		{"settings are cut off", []byte{1, 1, 4, 10, 8, 0}},
		{"settings are cut off", []byte{1, 99, 1}},
		{"settings: a resolver's address of 5 bytes", dns(1, 2, 3, 4, 5)},
		{"settings: a resolver's address of 0 bytes", dns()},
		{"settings: 0.0.0.0 cannot be a resolver's address", dns(0, 0, 0, 0)},
		{"settings: 127.0.0.53 cannot be a resolver's address", dns(127, 0, 0, 53)},
		{"settings: 224.0.0.1 cannot be a resolver's address", dns(224, 0, 0, 1)},
		{"settings: ::1 cannot be a resolver's address", dns(netip.IPv6Loopback().AsSlice()...)},
		{"settings: fe80::1 cannot be a resolver's address", dns(netip.MustParseAddr("fe80::1").AsSlice()...)},
		{"settings: ::ffff:10.8.0.1 cannot be a resolver's address", dns(netip.MustParseAddr("::ffff:10.8.0.1").AsSlice()...)},
		{"settings: 4 resolvers, at most 3 are possible", []byte{1, 1, 4, 9, 9, 9, 9, 1, 4, 9, 9, 9, 9, 1, 4, 9, 9, 9, 9, 1, 4, 9, 9, 9, 9}},
		{"settings: 7 search domains, at most 6 are possible", append([]byte{1}, strings.Repeat("\x02\x01a", 7)...)},
		{`settings: "" is not a domain, such as corp.example`, search("")},
		{`settings: "a b" is not a domain, such as corp.example`, search("a b")},
		{`settings: "a\nnameserver 6.6.6.6" is not a domain, such as corp.example`, search("a\nnameserver 6.6.6.6")},
		{`settings: "-rf" is not a domain, such as corp.example`, search("-rf")},
		{`settings: "a..b" is not a domain, such as corp.example`, search("a..b")},
		{`settings: "a." is not a domain, such as corp.example`, search("a.")},
		{`settings: "~." is not a domain, such as corp.example`, search("~.")},
		{"settings: a domain of 254 bytes, at most 253 are possible", search(strings.Repeat("a.", 127))},
	} {
		s, err := Parse(c.bytes)
		require.EqualError(t, err, c.says)
		require.Zero(t, s)
	}
}

// Settings that Parse would refuse are not sent in the first place.
func TestMarshalRefuses(t *testing.T) {
	_, err := Settings{DNS: []netip.Addr{{}}}.Marshal()
	require.EqualError(t, err, "invalid IP cannot be a resolver's address")
	_, err = Settings{DNS: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}.Marshal()
	require.EqualError(t, err, "fe80::1%eth0 cannot be a resolver's address")
	_, err = Settings{Search: []string{"ex ample"}}.Marshal()
	require.EqualError(t, err, `"ex ample" is not a domain, such as corp.example`)
}

func TestReceiverKeepsTheFirst(t *testing.T) {
	var r Receiver
	require.Zero(t, r.Settings())
	require.Error(t, r.Take([]byte{1, 1}), "a bad payload refuses the handshake")
	first, second := Settings{DNS: []netip.Addr{v4}}, Settings{DNS: []netip.Addr{v6}}
	for _, s := range []Settings{first, first, second} {
		b, err := s.Marshal()
		require.NoError(t, err)
		require.NoError(t, r.Take(b))
	}
	require.Equal(t, first, r.Settings())
}

// Whatever comes in, what is taken of it can be sent on, and is the same then.
func FuzzParse(f *testing.F) {
	f.Add([]byte{1, 1, 4, 10, 8, 0, 1, 2, 3, 'a', '.', 'b', 77, 0})
	f.Add([]byte{1, 2, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		again, err := s.Marshal()
		require.NoError(t, err)
		got, err := Parse(again)
		require.NoError(t, err)
		require.Equal(t, s, got)
	})
}
