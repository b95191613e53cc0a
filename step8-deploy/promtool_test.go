package step8_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// promtool(1), of Prometheus, finds nothing wrong with the metrics of a client and of a server with clients.
func TestMetricsForPrometheus(t *testing.T) {
	takesLong(t)
	promtool, err := filepath.Abs("../.cache/promtool/promtool")
	require.NoError(t, err)
	if _, err := os.Stat(promtool); err != nil {
		t.Skip("it needs promtool: shared/lab/setup.sh promtool")
	}
	check := func(page string) error {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	}
	w := newWorld(t)
	w.add(t, "alice", "metrics", "127.0.0.1:9587")
	server := w.server(t, "metrics", "127.0.0.1:9586")
	alice := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	w.stepvpn(t, "clients", "limit", "alice", "-down", "20Mbit/s", "-quota", "100GB/month", "-settings", w.path("server.toml"))
	page := func(h *netlab.Host, port int) string {
		return h.Run(t, "curl", "-sSf", "--max-time", "30", fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	}
	netlab.Eventually(t, limit, "the server's metrics have all that is known of a client", func() bool {
		text := page(w.Server, 9586)
		return strings.Contains(text, `stepvpn_peer_limit_bytes_per_second{peer="alice"`) && strings.Contains(text, `stepvpn_peer_quota_bytes{peer="alice"`)
	})
	for name, text := range map[string]string{"server": page(w.Server, 9586), "client": page(w.Alice, 9587)} {
		require.NoError(t, check(text), name)

		// The detector finds a mistake.
		require.ErrorContains(t, check(strings.Replace(text, "# HELP", "# JUNK", 1)), "no help text")
	}
	alice.Interrupt()
	require.Zero(t, alice.Wait(t), alice.Log())
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
}
