package step8_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/usage"
)

// countTunnel has nft count what passes the server's TUN device. The function that it returns
// says how much: packets and bytes, from clients and to them.
func (w *world) countTunnel(t *testing.T) (count func() usage.Counts) {
	t.Helper()
	w.Server.Run(t, "nft", `table inet judge {
		counter in { }
		counter out { }
		chain in { type filter hook prerouting priority raw; iifname "vpn0" counter name in; }
		chain out { type filter hook postrouting priority srcnat + 50; oifname "vpn0" counter name out; }
	}`)
	find := regexp.MustCompile(`packets (\d+) bytes (\d+)`)
	return func() (c usage.Counts) {
		t.Helper()
		for name, to := range map[string][2]*uint64{"in": {&c.ReceivedPackets, &c.ReceivedBytes}, "out": {&c.SentPackets, &c.SentBytes}} {
			m := find.FindStringSubmatch(w.Server.Run(t, "nft", "list", "counter", "inet", "judge", name))
			require.Len(t, m, 3)
			for i := range to {
				n, err := strconv.ParseUint(m[i+1], 10, 64)
				require.NoError(t, err)
				*to[i] = n
			}
		}
		return c
	}
}

// usage returns what 'stepvpn usage' says.
func (w *world) usage(t *testing.T, args ...string) *usage.Result {
	t.Helper()
	args = append([]string{"usage", "-json", "-settings", w.path("server.toml")}, args...)
	r := new(usage.Result)
	require.NoError(t, json.Unmarshal([]byte(w.stepvpn(t, args...)), r))
	return r
}

// of returns what one client has used.
func of(r *usage.Result, name string) (c usage.Counts) {
	for _, row := range r.Rows {
		if row.Client == name {
			c.Add(row.Counts)
		}
	}
	return c
}

// What clients use is what nft counts at the server's device, also over a restart.
func TestUsage(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	count := w.countTunnel(t)
	server := w.server(t, "offloads", false) // so that nft counts the packets one by one, too
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	for range 2 {
		w.Alice.Run(t, "curl", "-sS", "-o", "/dev/null", fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, 3_000_000))
		server.Interrupt()
		require.Zero(t, server.Wait(t), server.Log())
		server = w.serve(t, w.Server)
		w.seenAs(t, w.Server.V4.String())
	}
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())

	judge, got := count(), of(w.usage(t), "alice")
	require.Greater(t, judge.SentBytes, uint64(6_000_000))
	require.Equal(t, judge.ReceivedBytes, got.ReceivedBytes)
	require.Equal(t, judge.ReceivedPackets, got.ReceivedPackets)
	require.InEpsilon(t, judge.SentBytes, got.SentBytes, 0.1) // while the server starts, packets for alice are dropped
	require.InEpsilon(t, judge.SentPackets, got.SentPackets, 0.1)
	require.LessOrEqual(t, got.SentBytes, judge.SentBytes)
	require.Equal(t, uint64(3), got.Handshakes)
	require.Positive(t, got.Connected)
	for _, step := range []string{"1s", "1m", "1h", "1d"} {
		steps := of(w.usage(t, "alice", "-since", "30m", "-step", step), "alice")
		require.Equal(t, got, steps, step)
	}
	require.Contains(t, w.stepvpn(t, "usage", "-settings", w.path("server.toml")), "\nalice  6.")
}

// However often everything is killed, what is lost are the last 10 s at most. While the server
// runs, the command asks it, and is told of the last seconds, too.
func TestUsageKilled(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	count := w.countTunnel(t)
	server := w.server(t, "offloads", false)
	w.client(t)
	var worst uint64
	for range 3 {
		w.seenAs(t, w.Server.V4.String())
		before := of(w.usage(t), "alice").SentBytes
		// It is killed in the middle of a download, of which at least the first part is older.
		w.Alice.Start(t, "curl", "-sS", "--limit-rate", "500k", "-o", "/dev/null", fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, 50_000_000))
		var kept uint64
		netlab.Eventually(t, limit, "a part is written", func() bool {
			kept = of(w.files(t), "alice").SentBytes
			return kept > before+1_000_000
		})
		old := count()
		netlab.Eventually(t, limit, "more has passed, which the server tells", func() bool {
			return count().SentBytes > old.SentBytes+100_000 && of(w.usage(t), "alice").SentBytes > kept
		})
		server.Kill()
		server.Wait(t)
		server = w.serve(t, w.Server)
		after := of(w.usage(t), "alice").SentBytes
		require.GreaterOrEqual(t, after, kept, "what was written is still there")
		judge := count().SentBytes
		require.LessOrEqual(t, after, judge)
		worst = max(worst, judge-after)
	}
	t.Logf("after 3 kills, %d bytes of those that nft has counted are missing", worst)
}

// files is usage, but reads the files, as if no server ran.
func (w *world) files(t *testing.T) *usage.Result {
	t.Helper()
	r, err := usage.Read(w.path("worker/pool"), usage.Query{Since: time.Now().Add(-time.Hour)})
	if err != nil {
		return new(usage.Result)
	}
	return r
}
