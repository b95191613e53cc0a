package measured_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// A run is what iperf3 reports.
type run struct {
	Error     string
	Intervals []struct {
		Sum struct {
			Bytes   float64
			Seconds float64
			BPS     float64 `json:"bits_per_second"`
		}
	}
	End struct {
		SumReceived struct {
			BPS float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	}
}

// iperf measures from alice to web, for some seconds after two of warming up, and returns bits
// per second of payload: on average, and in the fastest second.
func (w *world) iperf(to netip.Addr, seconds, streams int, down bool, more ...string) (mean, most float64) {
	w.t.Helper()
	args := append([]string{"-J", "-c", to.String(), "-t", strconv.Itoa(seconds), "-O", "2", "-P", strconv.Itoa(streams)}, more...)
	if down {
		args = append(args, "-R")
	}
	out, err := w.Alice.Try("iperf3", args...)
	require.NoError(w.t, err, out)
	var r run
	require.NoError(w.t, json.Unmarshal([]byte(out), &r), out)
	require.Empty(w.t, r.Error)
	for _, i := range r.Intervals[2:] {
		if i.Sum.Seconds > 0.9 {
			most = max(most, i.Sum.BPS)
		}
	}
	return r.End.SumReceived.BPS, most
}

func (w *world) serveIperf() {
	w.t.Helper()
	w.Web.Start(w.t, "iperf3", "-s", "--forceflush").WaitLog(w.t, "Server listening")
}

// payload is the part of a packet of 1,420 bytes that a TCP carries, with timestamps.
const payload = 1368. / 1420

func TestTry(t *testing.T) {
	w := newWorld(t)
	w.serveIperf()
	w.client("alice", w.Alice)
	for _, rate := range []float64{20, 1} {
		w.limit("alice", "-down", fmt.Sprintf("%.0fMbit/s", rate), "-up", fmt.Sprintf("%.0fMbit/s", rate))
		for _, to := range []netip.Addr{w.near, w.far} {
			for _, streams := range []int{1, 4} {
				for _, down := range []bool{true, false} {
					mean, most := w.iperf(to, 8, streams, down)
					fmt.Printf("%4.0f far=%v streams=%d down=%v: mean %.1f%% most %.1f%%\n", rate, to == w.far, streams, down, mean/payload/rate/1e4, most/payload/rate/1e4)
				}
			}
		}
	}
}
