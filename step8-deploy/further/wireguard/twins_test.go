package wireguard

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
)

// Two devices that take turns are noticed when the keys have gone back and forth, and the log
// says so once. A device that moves is not, nor one that is started anew, nor a client of our
// own protocol.
func TestTwins(t *testing.T) {
	home, cafe, train := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), netip.MustParseAddrPort("192.0.2.3:3")
	type see struct {
		at   netip.AddrPort
		keys int // the number of the handshake
	}
	for what, c := range map[string]struct {
		seen  []see
		twins bool
	}{
		"two devices":                   {[]see{{home, 1}, {cafe, 2}, {home, 3}, {cafe, 4}}, true},
		"two devices, for a while":      {[]see{{home, 1}, {home, 2}, {cafe, 3}, {cafe, 4}, {home, 5}, {home, 6}, {cafe, 7}}, true},
		"it moves, there and back":      {[]see{{home, 1}, {cafe, 1}, {home, 1}, {cafe, 1}, {home, 1}}, false},
		"it moves, and has new keys":    {[]see{{home, 1}, {cafe, 1}, {cafe, 2}, {home, 2}, {home, 3}, {cafe, 3}, {cafe, 4}}, false},
		"it comes back once":            {[]see{{home, 1}, {cafe, 2}, {home, 3}}, false},
		"it asks from place to place":   {[]see{{home, 1}, {cafe, 2}, {train, 3}, {home, 4}, {cafe, 5}, {train, 6}}, false},
		"it is started again and again": {[]see{{home, 1}, {home, 2}, {home, 3}, {home, 4}}, false},
	} {
		for _, by := range []string{Name, ""} {
			var log bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			key, now := noise.PublicKey{1}, time.Now()
			twins := new(Twins)
			for i, s := range c.seen {
				for again := range 3 {
					at := now.Add(time.Duration(30*i+again) * time.Second)
					twins.look([]hub.Status{{Name: "phone", Key: key, By: by, Endpoint: s.at, Handshake: now.Add(time.Duration(s.keys) * time.Second)}}, at)
				}
			}
			slog.SetDefault(before)
			want := c.twins && by == Name
			require.Equal(t, want, twins.Has(key), what)
			require.Equal(t, want, strings.Count(log.String(), "two devices") == 1, "%s: %s", what, &log)
			twins.look(nil, now.Add(time.Hour))
			require.False(t, twins.Has(key), "%s: it is forgotten", what)
			require.Empty(t, twins.turns)
		}
	}
}
