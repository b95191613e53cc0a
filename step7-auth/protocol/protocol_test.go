package protocol

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/identity"
)

var addrs = []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::2/64")}

func TestHello(t *testing.T) {
	h := Hello{Instance: 0x0102030405060708}
	m := h.Append([]byte("kept"))
	require.Equal(t, "kept\x02\x01\x02\x03\x04\x05\x06\x07\x08", string(m))
	got, err := ParseHello(m[4:])
	require.NoError(t, err)
	require.Equal(t, h, got)
	for _, bad := range []string{"", "\x02", string(m[4:]) + "x", string(m[4:12])} {
		_, err := ParseHello([]byte(bad))
		require.ErrorIs(t, err, errFormat, "%q", bad)
	}
	m[4] = 1
	_, err = ParseHello(m[4:])
	require.ErrorIs(t, err, errVersion)
}

func TestWelcome(t *testing.T) {
	for _, w := range []Welcome{
		{Addrs: addrs, Settings: []byte("settings")},
		{Addrs: addrs[:1], Login: true},
		{Addrs: addrs[1:], Settings: make([]byte, MaxSettings)},
	} {
		m, err := w.Append(nil)
		require.NoError(t, err)
		require.LessOrEqual(t, len(m), secure.MaxPayload)
		got, err := ParseWelcome(m)
		require.NoError(t, err)
		if w.Settings == nil {
			w.Settings = []byte{}
		}
		require.Equal(t, w, got)
		clear(m)
		require.Equal(t, w, got, "it is a copy")
	}
	four := []netip.Prefix{addrs[1], netip.MustParsePrefix("fd00:9::2/64"), netip.MustParsePrefix("fd00:a::2/64"), netip.MustParsePrefix("fd00:b::2/64")}
	m, err := Welcome{Addrs: four, Settings: make([]byte, MaxSettings)}.Append(nil)
	require.NoError(t, err)
	require.Len(t, m, secure.MaxPayload, "the largest one fits just so")
}

// A Welcome that no server of ours would send is neither encoded nor accepted.
func TestWelcomeErrors(t *testing.T) {
	for _, list := range [][]string{
		{}, {"10.0.0.1/8", "10.0.0.2/8", "10.0.0.3/8", "10.0.0.4/8", "10.0.0.5/8"}, {"10.0.0.1/8", "10.0.0.1/16"},
		{"0.0.0.0/8"}, {"127.0.0.1/8"}, {"224.0.0.1/24"}, {"10.0.0.1/0"}, {"255.255.255.255/32"},
		{"::/64"}, {"::1/64"}, {"ff02::1/64"}, {"fe80::1/64"}, {"::ffff:10.0.0.1/120"}, {"169.254.1.1/16"},
	} {
		var w Welcome
		// The same by hand, for the parser.
		m := []byte{version, 0, byte(len(list))}
		for _, s := range list {
			p := netip.MustParsePrefix(s)
			w.Addrs = append(w.Addrs, p)
			family := byte(6)
			if p.Addr().Is4() {
				family = 4
			}
			m = append(append(append(m, family), p.Addr().AsSlice()...), byte(p.Bits()))
		}
		_, err := w.Append(nil)
		require.Error(t, err, "%v", list)
		_, err = ParseWelcome(m)
		require.Error(t, err, "%v", list)
	}
	_, err := Welcome{Addrs: addrs, Settings: make([]byte, MaxSettings+1)}.Append(nil)
	require.EqualError(t, err, "protocol: settings have at most 949 bytes, not 950")

	good, err := Welcome{Addrs: addrs}.Append(nil)
	require.NoError(t, err)
	for n := range good {
		_, err := ParseWelcome(good[:n])
		require.Error(t, err, "cut off at %d", n)
	}
	for name, bad := range map[string]string{
		"login":    "\x02\x02\x01\x04\x0a\x08\x00\x02\x18",
		"family":   "\x02\x00\x01\x05\x0a\x08\x00\x02\x18",
		"prefix 4": "\x02\x00\x01\x04\x0a\x08\x00\x02\x21",
		"count":    "\x02\x00\xff\x04\x0a\x08\x00\x02\x18",
		"long":     "\x02\x00\x01\x04\x0a\x08\x00\x02\x18" + strings.Repeat("x", MaxSettings+1),
	} {
		_, err := ParseWelcome([]byte(bad))
		require.Error(t, err, name)
	}
}

func TestLogin(t *testing.T) {
	for _, l := range []Login{
		{1, "alice", "secret"},
		{255, strings.Repeat("u", MaxUser), strings.Repeat("p", MaxPassword)},
		{0, "é\x00", "\x00"},
	} {
		m := l.Append([]byte("kept"))
		require.Len(t, m, 4+loginLen, "the length tells nothing")
		got, err := ParseLogin(m[4:])
		require.NoError(t, err)
		require.Equal(t, l, got)
	}
	good := Login{1, "u", "p"}.Append(nil)
	for name, change := range map[string]func([]byte) []byte{
		"short":       func(m []byte) []byte { return m[:loginLen-1] },
		"long":        func(m []byte) []byte { return append(m, 0) },
		"no user":     func(m []byte) []byte { m[1] = 0; return m },
		"long user":   func(m []byte) []byte { m[1] = MaxUser + 1; return m },
		"no password": func(m []byte) []byte { m[3] = 0; return m },
		"rest":        func(m []byte) []byte { m[loginLen-1] = 1; return m },
		"empty":       func([]byte) []byte { return nil },
	} {
		_, err := ParseLogin(change(append([]byte(nil), good...)))
		require.ErrorIs(t, err, errFormat, name)
	}
	require.False(t, Login{User: "u"}.Valid())
	require.False(t, Login{User: "u", Password: strings.Repeat("p", MaxPassword+1)}.Valid())
}

// Whatever the registry can have, a login can carry.
func TestRoomForPasswords(t *testing.T) {
	require.Equal(t, identity.MaxPassword, MaxPassword)
	require.NoError(t, identity.CheckName(strings.Repeat("u", 63)))
	require.GreaterOrEqual(t, MaxUser, 63)
}

func TestResult(t *testing.T) {
	for _, r := range []Result{{Attempt: 3}, {1, &secure.Rejected{Reason: "wrong", Final: true}}, {0, &secure.Rejected{Reason: "busy"}}} {
		got, err := ParseResult(r.Append(nil))
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	for _, bad := range []string{"", "\x01\x00", "\x01\x01", "\x01\x02no", "\x01\x01a\nb", "\x01\x00\x1b[2J"} {
		_, err := ParseResult([]byte(bad))
		require.ErrorIs(t, err, errFormat, "%q", bad)
	}
}

// Whatever parses encodes to the same bytes again.
func FuzzParse(f *testing.F) {
	answer, _ := Welcome{Addrs: addrs, Settings: []byte("s")}.Append(nil)
	f.Add(answer)
	f.Add(Hello{1}.Append(nil))
	f.Add(Login{1, "u", "p"}.Append(nil))
	f.Add(Result{1, &secure.Rejected{Reason: "no"}}.Append(nil))
	f.Fuzz(func(t *testing.T, m []byte) {
		if h, err := ParseHello(m); err == nil {
			require.Equal(t, m, h.Append(nil))
		}
		if l, err := ParseLogin(m); err == nil {
			require.Equal(t, m, l.Append(nil))
		}
		if r, err := ParseResult(m); err == nil {
			require.Equal(t, m, r.Append(nil))
		}
		if w, err := ParseWelcome(m); err == nil {
			again, err := w.Append(nil)
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}
