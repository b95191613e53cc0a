package greet

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
	h := Hello{Time: 0x0102030405060708, Instance: 9}
	m := h.Append([]byte("kept"))
	require.Equal(t, "kept\x01\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00\x00\x00\x09", string(m))
	got, err := ParseHello(m[4:])
	require.NoError(t, err)
	require.Equal(t, h, got)
	for _, bad := range []string{"", "\x01", string(m[4:]) + "x", string(m[4:20])} {
		_, err := ParseHello([]byte(bad))
		require.ErrorIs(t, err, errFormat, "%q", bad)
	}
	m[4] = 2
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
		got, err := ParseAnswer(m)
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

// What no server of ours hands out is neither sent nor believed.
func TestWelcomeErrors(t *testing.T) {
	for _, list := range [][]string{
		{}, {"10.0.0.1/8", "10.0.0.2/8", "10.0.0.3/8", "10.0.0.4/8", "10.0.0.5/8"}, {"10.0.0.1/8", "10.0.0.1/16"},
		{"0.0.0.0/8"}, {"127.0.0.1/8"}, {"224.0.0.1/24"}, {"10.0.0.1/0"}, {"255.255.255.255/32"},
		{"::/64"}, {"::1/64"}, {"ff02::1/64"}, {"fe80::1/64"}, {"::ffff:10.0.0.1/120"}, {"169.254.1.1/16"},
	} {
		var w Welcome
		// The same by hand, for the parser.
		m := []byte{version, welcome, byte(len(list))}
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
		_, err = ParseAnswer(m)
		require.Error(t, err, "%v", list)
	}
	_, err := Welcome{Addrs: addrs, Settings: make([]byte, MaxSettings+1)}.Append(nil)
	require.EqualError(t, err, "greet: settings have at most 949 bytes, not 950")

	good, err := Welcome{Addrs: addrs}.Append(nil)
	require.NoError(t, err)
	for n := range good {
		_, err := ParseAnswer(good[:n])
		require.Error(t, err, "cut off at %d", n)
	}
	for name, bad := range map[string]string{
		"result":   "\x01\x04\x00",
		"family":   "\x01\x00\x01\x05\x0a\x08\x00\x02\x18",
		"prefix 4": "\x01\x00\x01\x04\x0a\x08\x00\x02\x21",
		"count":    "\x01\x00\xff\x04\x0a\x08\x00\x02\x18",
		"long":     "\x01\x00\x01\x04\x0a\x08\x00\x02\x18" + strings.Repeat("x", MaxSettings+1),
	} {
		_, err := ParseAnswer([]byte(bad))
		require.Error(t, err, name)
	}
}

func TestRefusal(t *testing.T) {
	for _, r := range []secure.Rejected{{Reason: "no"}, {Reason: "never", Final: true}} {
		_, err := ParseAnswer(AppendRefusal(nil, r))
		require.Equal(t, &r, err)
	}
	// A server makes its sentences fit for others, and a client does not trust it in that.
	_, err := ParseAnswer(AppendRefusal(nil, secure.Rejected{Reason: "a\nb\x1b[2Jé" + strings.Repeat("x", 300)}))
	require.EqualError(t, err, "a?b?[2J?"+strings.Repeat("x", 200-8))
	_, err = ParseAnswer(AppendRefusal(nil, secure.Rejected{}))
	require.EqualError(t, err, "no reason given")
	for _, bad := range []string{"\x01\x02", "\x01\x02a\nb", "\x01\x03\x1b[2J", "\x01\x02é", "\x01\x02" + strings.Repeat("x", 201), "\x01\x03\x7f"} {
		_, err := ParseAnswer([]byte(bad))
		require.ErrorIs(t, err, errFormat, "%q", bad)
	}
}

func TestBehind(t *testing.T) {
	m := Behind{Time: 1 << 40}.Append(nil)
	require.Equal(t, []byte{1, 4, 0, 0, 1, 0, 0, 0, 0, 0}, m)
	_, err := ParseAnswer(m)
	require.Equal(t, &Behind{Time: 1 << 40}, err)
	for _, m := range [][]byte{m[:9], append(m, 0)} {
		_, err := ParseAnswer(m)
		require.Equal(t, errFormat, err)
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
	for _, bad := range []string{"", "\x01", "\x01\x00x", "\x01\x01", "\x01\x02", "\x01\x03a\nb", "\x01\x04no"} {
		_, err := ParseResult([]byte(bad))
		require.ErrorIs(t, err, errFormat, "%q", bad)
	}
}

// Whatever parses encodes to the same bytes again.
func FuzzParse(f *testing.F) {
	answer, _ := Welcome{Addrs: addrs, Settings: []byte("s")}.Append(nil)
	f.Add(answer)
	f.Add(AppendRefusal(nil, secure.Rejected{Reason: "no", Final: true}))
	f.Add(Behind{1}.Append(nil))
	f.Add(Hello{1, 2}.Append(nil))
	f.Add(Login{1, "u", "p"}.Append(nil))
	f.Add(Probe{1, 20}.Append(nil))
	f.Add(Probed{1, 20}.Append(nil))
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
		if p, err := ParseProbe(m); err == nil {
			require.Len(t, p.Append(nil), len(m))
			require.LessOrEqual(t, len(p.Answer().Append(nil)), len(m))
		}
		if p, err := ParseProbed(m); err == nil {
			require.Equal(t, m, p.Append(nil))
		}
		switch w, err := ParseAnswer(m); r := err.(type) {
		case nil:
			again, err := w.Append(nil)
			require.NoError(t, err)
			require.Equal(t, m, again)
		case *secure.Rejected:
			require.True(t, secure.PlainText(r.Reason))
			require.Equal(t, m, AppendRefusal(nil, *r))
		}
	})
}
