package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// A traffic measures what a path between two hosts carries.
type traffic struct {
	seconds   int           // of a TCP measurement
	control   string        // TCP's congestion control
	probeTime time.Duration // of one step of the search for the highest rate
	source    *process      // of UDP packets, on alice
	sink      *process      // on the server
	all       []*process
}

// startTraffic starts the programs for measurements: iperf3 servers on both hosts behind the
// tunnel, and a source and a sink of UDP packets. The caller must close the result, even after
// an error.
func startTraffic(ctx context.Context, dir string, seconds int, control string) (*traffic, error) {
	t := &traffic{seconds: seconds, control: control, probeTime: 250 * time.Millisecond}
	for _, h := range []host{alice, server, web} {
		// TCP must not reuse what it has learned about a path with another contender.
		if err := h.all("sysctl -q net.ipv4.tcp_no_metrics_save=1"); err != nil {
			return t, err
		}
	}
	for _, h := range []host{server, web} {
		p, err := h.start(dir, "iperf3-"+string(h), "iperf3", "-s", "--forceflush")
		if err != nil {
			return t, err
		}
		t.all = append(t.all, p)
		if err := p.logged(ctx, "Server listening"); err != nil {
			return t, err
		}
	}
	var err error
	if t.source, err = alice.talk("bin/bench", "source"); err != nil {
		return t, err
	}
	t.all = append(t.all, t.source)
	if t.sink, err = server.talk("bin/bench", "sink"); err == nil {
		t.all = append(t.all, t.sink)
	}
	return t, err
}

func (t *traffic) close() {
	for _, p := range t.all {
		p.stop()
	}
}

// tcp measures the throughput from alice to an address, in bit/s, and returns it with the
// number of bytes that arrived. Options can reverse the direction (-R), or use several
// streams (-P).
func (t *traffic) tcp(addr string, options ...string) (rate float64, bytes int, err error) {
	args := []string{"iperf3", "-J", "-c", addr, "-t", strconv.Itoa(t.seconds), "--connect-timeout", "3000", "-C", t.control}
	out, err := alice.run(append(args, options...)...)
	var result struct {
		Error string
		End   struct {
			Received struct {
				Bytes int
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if json.Unmarshal([]byte(out), &result) == nil && result.Error != "" {
		err = fmt.Errorf("iperf3: %s", result.Error)
	}
	if err != nil {
		return 0, 0, err
	}
	return result.End.Received.Rate, result.End.Received.Bytes, nil
}

var pingTime = regexp.MustCompile(`time=([0-9.]+) ms`)

// ping measures round trips, in seconds, one every 10 ms.
func (t *traffic) ping(addr string, count int) (trips []float64, err error) {
	out, err := alice.run("ping", "-n", "-i", "0.01", "-c", strconv.Itoa(count), "-W", "1", addr)
	for _, m := range pingTime.FindAllStringSubmatch(out, -1) {
		ms, _ := strconv.ParseFloat(m[1], 64)
		trips = append(trips, ms/1000)
	}
	if len(trips) == 0 {
		return nil, fmt.Errorf("no answer to ping: %w", err)
	}
	return trips, nil // ignore lost packets, which are not measured here
}

// answers reports whether an address answers a ping within a second. It returns early if
// there is no route. It sends a ping every 5 ms, because those that were sent too early are
// lost.
func answers(addr string) bool {
	_, err := alice.run("ping", "-n", "-c", "1", "-i", "0.005", "-w", "1", addr)
	return err == nil
}
