package hub

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step7-auth/greet"
)

// A probe is answered with what has arrived of it; one that is none is dropped.
func TestProbe(t *testing.T) {
	w := serve(t, nil)
	cfg := clientConfig(w.add(Account{Name: "alice"}))
	answers := make(chan greet.Probed, 1)
	cfg.OnProbed = func(p greet.Probed) { answers <- p }
	alice, err := w.try(cfg)
	require.NoError(t, err)
	p := greet.Probe{ID: 1, Size: 1400}
	require.NoError(t, alice.Probe(greet.KindProbe, p.Append(nil)))
	require.Equal(t, greet.Probed(p), <-answers)
	require.NoError(t, alice.Probe(greet.KindProbe, make([]byte, greet.MinProbe-1)))
	w.dropped(link.Malformed, 1)
}
