package routes

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step6-dns/push"
)

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// Routes are the same after Append and Parse, and a client that does not know them gets the
// other settings.
func TestThereAndBack(t *testing.T) {
	want := push.Settings{DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Search: []string{"corp.example"}}
	settings, err := want.Marshal()
	require.NoError(t, err)
	for _, routes := range [][]netip.Prefix{nil, prefixes("10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "1.2.3.4/32")} {
		b, err := Append(settings, routes)
		require.NoError(t, err)
		got, err := Parse(b)
		require.NoError(t, err)
		require.Equal(t, routes, got)
		old, err := push.Parse(b)
		require.NoError(t, err)
		require.Equal(t, want, old)
	}
	none, err := Parse(nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestBytesOnTheWire(t *testing.T) {
	b, err := Append([]byte{1, 1, 4, 10, 8, 0, 1}, prefixes("10.0.0.0/8"))
	require.NoError(t, err)
	require.Equal(t, []byte{1, 1, 4, 10, 8, 0, 1, 3, 5, 8, 10, 0, 0, 0}, b)
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		says  string
		bytes []byte
	}{
		{"settings are cut off", []byte{1, 3}},
		{"the settings have version 2, but this program knows only version 1: update it", []byte{2}},
		{"settings: a route of 0 bytes", []byte{1, 3, 0}},
		{"settings: a route of 4 bytes", []byte{1, 3, 4, 8, 10, 0, 0}},
		{"settings: invalid Prefix cannot be a route", []byte{1, 3, 5, 33, 10, 0, 0, 0}},
		{"settings: 10.0.0.1/8 cannot be a route", []byte{1, 3, 5, 8, 10, 0, 0, 1}},
		{"settings: 17 routes, at most 16 are possible", append([]byte{1}, strings.Repeat("\x03\x05\x08\x0a\x00\x00\x00", 17)...)},
	} {
		_, err := Parse(c.bytes)
		require.EqualError(t, err, c.says)
	}
	_, err := Append([]byte{1}, prefixes("10.0.0.1/8"))
	require.EqualError(t, err, "10.0.0.1/8 cannot be a route")
}

// Whatever is received, Parse returns only routes that Append accepts, and they are the same
// afterwards.
func FuzzParse(f *testing.F) {
	f.Add([]byte{1, 3, 5, 8, 10, 0, 0, 0})
	f.Add([]byte{1, 1, 4, 10, 8, 0, 1, 3, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		routes, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Append([]byte{1}, routes)
		require.NoError(t, err)
		got, err := Parse(again)
		require.NoError(t, err)
		require.Equal(t, routes, got)
	})
}
