package step8_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step8-deploy/usage"
)

// countTunnel has nft count what passes the server's TUN device. The function that it returns
// says how much: packets and bytes, from clients and to them.
func (w *world) countTunnel(t *testing.T) (count func() usage.Counts) {
	t.Helper()
	w.Web.Run(t, "ip", "link", "set", "eth0", "gso_max_segs", "1") // or nft counts several segments as one packet
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
	require.Regexp(t, `(?m)^alice +6\.\d MB `, w.stepvpn(t, "usage", "-settings", w.path("server.toml")))
}

// However often everything is killed, what is lost are the last seconds: what nft has counted
// gets into the files soon, and stays there. (That it takes 10 s at most is tested where the
// time is not that of a busy machine: usage.TestRuns.) While the server runs, the command asks
// it, and is told of what is not written yet, too.
func TestUsageKilled(t *testing.T) {
	const slack = 1_000_000 // bytes that nft counts although the device drops them, at the start of a download
	w := newWorld(t)
	w.add(t, "alice")
	count := w.countTunnel(t)
	server := w.server(t, "offloads", false)
	w.client(t)
	var slowest time.Duration
	var worst uint64
	kills := soak.Pick(t, 3, 10)
	for range kills {
		w.seenAs(t, w.Server.V4.String())
		before := of(w.usage(t), "alice").SentBytes
		start := count().SentBytes
		require.LessOrEqual(t, before, start)
		missing := start - before // because of earlier kills

		download := w.Alice.Start(t, "curl", "-sS", "--limit-rate", "500k", "-o", "/dev/null", fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, 100_000_000))
		netlab.Eventually(t, limit, "a part has passed", func() bool { return count().SentBytes > start+3*slack })
		moment, passed := time.Now(), count().SentBytes
		var kept uint64
		netlab.Eventually(t, limit, "it is in the files", func() bool {
			kept = of(w.files(t), "alice").SentBytes
			return kept+missing+slack > passed
		})
		slowest = max(slowest, time.Since(moment))
		netlab.Eventually(t, limit, "the server tells of more", func() bool { return of(w.usage(t), "alice").SentBytes > kept })
		server.Kill()
		server.Wait(t)
		download.Kill()
		download.Wait(t)
		judge := count().SentBytes
		server = w.serve(t, w.Server)
		after := of(w.usage(t), "alice").SentBytes
		require.GreaterOrEqual(t, after, kept, "what was written is still there")
		require.LessOrEqual(t, after, count().SentBytes)
		worst = max(worst, judge-min(judge, after+missing))
	}
	t.Logf("%d kills: what has passed is in the files after at most %v; a kill loses at most %d bytes of those that nft has counted", kills, slowest, worst)
}

// While the disk is full, clients go on, and what they use is in memory. It is written once
// there is room.
func TestUsageOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	dir := w.path("small")
	require.NoError(t, os.Mkdir(dir, 0o700))
	w.Server.Run(t, "mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "small", dir)
	server := w.server(t, "state", dir)
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	server.Kill()
	server.Wait(t)
	w.Server.Run(t, "rm", "-rf", dir+"/worker/pool/usage") // its last block may have room
	_, err := w.Server.Try("bash", "-c", "cat /dev/zero >"+dir+"/fill")
	require.Error(t, err, "it is full")

	server = w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	fetch := func() {
		w.Alice.Run(t, "curl", "-sS", "-o", "/dev/null", fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, 1_000_000))
	}
	fetch()
	server.WaitLog(t, "what the clients use can't be saved")
	fetch()
	netlab.Eventually(t, limit, "the server knows it", func() bool { return of(w.usage(t), "alice").SentBytes > 2_000_000 })
	require.Equal(t, 1, strings.Count(server.Log(), "what the clients use can't be saved"), server.Log())
	w.Server.Run(t, "rm", dir+"/fill")
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	require.Contains(t, server.Log(), "what the clients use can be saved again")
	require.Greater(t, of(w.usage(t), "alice").SentBytes, uint64(2_000_000))
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
