package status

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func report() *Report {
	return &Report{
		Role: "server", Version: "v1", Now: now, Started: now.Add(-26 * time.Hour), State: "up", Device: "vpn0", MTU: 1420,
		Peers: []Peer{
			{Name: "bob"},
			{Name: "alice", Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2")},
				Endpoint: netip.MustParseAddrPort("198.51.100.10:40000"), Since: now.Add(-time.Hour), Handshake: now.Add(-75 * time.Second),
				Sent: Flow{Packets: 7, Bytes: 12_345, Rate: 999_600}, Received: Flow{Packets: 3, Bytes: 999, Rate: 0}},
		},
		Drops: map[string]uint64{"replayed": 2, "bad-tag": 1, "no-peer": 0},
	}
}

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, report().Write(&b))
	require.Equal(t, `server: up (version v1, started 1d2h ago)
device vpn0, mtu 1420
dropped: bad-tag 1, replayed 2

PEER   ADDRESSES           ENDPOINT             HANDSHAKE  SENT     RECEIVED  RATE OUT  RATE IN
alice  10.8.0.2,fd00:8::2  198.51.100.10:40000  1m15s ago  12.3 kB  999 B     1.0 MB/s  0 B/s
bob    -                   -                    -          0 B      0 B       0 B/s     0 B/s
`, b.String())

	b.Reset()
	require.NoError(t, (&Report{Role: "client", Version: "v1\u202e", State: "waiting", Reason: "no answer\x1b[2J", Cure: "Wake it.\x1b[2J\nPEER", Now: now, Started: now.Add(time.Hour)}).Write(&b))
	require.Equal(t, `client: waiting (version v1�, started 0s ago)
problem: no answer�[2J
what to do: Wake it.�[2J PEER
dropped: none

PEER  ADDRESSES  ENDPOINT  HANDSHAKE  SENT  RECEIVED  RATE OUT  RATE IN
(none)
`, b.String())
}

func TestSizes(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 999.6: "1.0 kB", 1000: "1.0 kB", 12_345: "12.3 kB", 99_949: "99.9 kB",
		99_960: "100 kB", 999_499: "999 kB", 999_500: "1.0 MB", 5e9: "5.0 GB", 5e18: "5000000 TB"} {
		require.Equal(t, want, Size(n), "%v", n)
	}
	for d, want := range map[time.Duration]string{0: "0s", time.Minute: "1m0s", 3*time.Hour + 12*time.Minute: "3h12m", 49 * time.Hour: "2d1h"} {
		require.Equal(t, want, Span(d))
	}
}

func TestRates(t *testing.T) {
	a, b := report(), report()
	b.Now = now.Add(2 * time.Second)
	b.Peers[1].Sent.Bytes += 3000
	b.Peers[0].Received.Bytes = 10
	b.Peers = append(b.Peers, Peer{Name: "new", Sent: Flow{Bytes: 5}})
	b.Rates(a)
	require.Equal(t, 1500.0, b.Peers[1].Sent.Rate)
	require.Equal(t, 5.0, b.Peers[0].Received.Rate)
	require.Zero(t, b.Peers[2].Sent.Rate)
	b.Peers[1].Since = now // connected anew
	b.Peers[1].Sent = Flow{Bytes: 1}
	b.Rates(a)
	require.Zero(t, b.Peers[1].Sent.Rate)
	b.Now = now
	b.Peers[0].Sent.Bytes = 100
	b.Rates(a)
	require.Zero(t, b.Peers[0].Sent.Rate, "no time has passed")
}

// Prometheus's own parser reads the output, and finds the numbers.
func TestMetrics(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr()
	stop := ServeMetrics(l, func() *Report {
		r := report()
		r.Peers[0].Name = "b\"o\\b\n{}\xff"
		r.Peers[1].Sent.Bytes = math.MaxUint64
		return r
	})
	defer func() { require.NoError(t, stop()) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + at.String() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	require.Len(t, families, 8)
	for name, f := range families {
		require.True(t, model.LegacyValidation.IsValidMetricName(name))
		require.NotEmpty(t, f.GetHelp())
	}
	require.Equal(t, 1.0, families["stepvpn_up"].Metric[0].GetGauge().GetValue())
	for _, m := range families["stepvpn_state"].Metric {
		is := m.Label[0].GetValue() == "up"
		require.Equal(t, one(is), m.GetGauge().GetValue(), m)
	}
	require.Len(t, families["stepvpn_state"].Metric, len(States))
	require.Equal(t, float64(now.Add(-26*time.Hour).Unix()), families["stepvpn_start_time_seconds"].Metric[0].GetGauge().GetValue())
	bytes := families["stepvpn_peer_bytes_total"].Metric
	require.Len(t, bytes, 4)
	require.Equal(t, "b\"o\\b\n{}?", bytes[0].Label[0].GetValue())
	require.Equal(t, float64(math.MaxUint64), bytes[2].GetCounter().GetValue())
	require.Equal(t, "bad-tag", families["stepvpn_dropped_packets_total"].Metric[0].Label[0].GetValue())

	for path, want := range map[string]int{"/": 404, "/metrics/x": 404} {
		resp, err := client.Get("http://" + at.String() + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.StatusCode)
	}
}

// One number says whether the daemon is up.
func TestMetricsOfDegraded(t *testing.T) {
	r := report()
	r.State = Degraded
	var b strings.Builder
	require.NoError(t, r.WriteMetrics(&b))
	require.Contains(t, b.String(), "stepvpn_up 0\n")
	require.Contains(t, b.String(), `stepvpn_state{state="degraded"} 1`+"\n")
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte(`{"role":"x","peers":[{"name":"a","endpoint":"1.2.3.4:5"}],"drops":{"x":1}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var r Report
		if json.Unmarshal(answer, &r) == nil {
			r.Rates(&r)
			require.NoError(t, r.Write(io.Discard))
			require.NoError(t, r.WriteMetrics(io.Discard))
		}
	})
}

// The servers of a client of the WireGuard protocol say how they are, each for itself.
func TestPeersWithAState(t *testing.T) {
	r := &Report{Role: "client", Now: now, Peers: []Peer{
		{Name: "b", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}, State: "waiting", Reason: "no\nanswer"},
		{Name: "a", AllowedIPs: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("fd00::/64")}, 6), State: "up", Since: now},
		{Name: "c", State: "connecting"},
	}}
	require.Equal(t, 1, r.Connected())
	require.Equal(t, 2, report().Connected())
	var text strings.Builder
	require.NoError(t, r.WriteMetrics(&text))
	require.Contains(t, text.String(), "\nstepvpn_peers 1\n")
	text.Reset()
	require.NoError(t, r.Write(&text))
	require.Contains(t, text.String(), "\na     fd00::/64,fd00::/64,fd00::/64,fd00::/64,and 2 more  -")
	require.Contains(t, text.String(), "\nb     10.8.0.0/24 ")
	require.True(t, strings.HasSuffix(text.String(), "\na is up, by the age of its handshake: a server of the WireGuard protocol answers no probe\n"+
		"b is waiting: no answer\nc is connecting\n"), text.String())
}
