package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
)

// A measure is one line of the table of results.
type measure struct {
	ID     string
	title  string
	unit   string
	scale  float64 // converts a sample from SI units to unit, by multiplication
	format string
}

// measures are the lines of the table, in their order.
var measures = []measure{
	{"tcp-up", "TCP to the server", "Gbit/s", 1e-9, "%.2f"},
	{"tcp-down", "TCP from the server", "Gbit/s", 1e-9, "%.2f"},
	{"tcp-4", "TCP to the server, 4 streams", "Gbit/s", 1e-9, "%.2f"},
	{"nat-up", "TCP to the web, through NAT", "Gbit/s", 1e-9, "%.2f"},
	{"nat-down", "TCP from the web", "Gbit/s", 1e-9, "%.2f"},
	{"nat-4", "TCP to the web, 4 streams", "Gbit/s", 1e-9, "%.2f"},
	{"cpu", "CPU time per GB, both ends", "s", 1e9, "%.2f"},
	{"udp-64", "UDP packets of 64 bytes", "1,000/s", 1e-3, "%.0f"},
	{"udp-1400", "UDP packets of 1,400 bytes", "1,000/s", 1e-3, "%.0f"},
	{"ping", "ping, average", "ms", 1e3, "%.3f"},
	{"ping-99", "ping, 99th percentile", "ms", 1e3, "%.3f"},
	{"ping-load", "ping under load, average", "ms", 1e3, "%.3f"},
	{"ping-load-99", "ping under load, 99th perc.", "ms", 1e3, "%.3f"},
	{"memory-server", "peak memory of the server", "MB", 1e-6, "%.1f"},
	{"memory-client", "peak memory of the client", "MB", 1e-6, "%.1f"},
	{"connect", "time to connect", "ms", 1e3, "%.0f"},
}

// A results has all samples, in SI units: bit/s, s, s per byte, packets per second,
// bytes.
type results struct {
	Rounds, Seconds int
	Host            string
	Congestion      string // TCP's congestion control
	Contenders      []string
	About           map[string]string
	Missing         map[string]string               // why a contender has no samples
	Samples         map[string]map[string][]float64 // by contender and measure
	Crowd           *crowdResult                    `json:",omitempty"`
}

func newResults() *results {
	return &results{
		About:   make(map[string]string),
		Missing: make(map[string]string),
		Samples: make(map[string]map[string][]float64),
	}
}

// add notes a sample.
func (r *results) add(contender, id string, v float64) {
	if r.Samples[contender] == nil {
		r.Samples[contender] = make(map[string][]float64)
	}
	r.Samples[contender][id] = append(r.Samples[contender][id], v)
}

// median returns the median of the samples, or NaN if there are none.
func (r *results) median(contender, id string) float64 { return median(r.Samples[contender][id]) }

func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// percentile returns the sample such that the fraction p of all samples is not above it.
func percentile(samples []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	return s[max(0, int(math.Ceil(p*float64(len(s))))-1)]
}

func mean(samples []float64) (sum float64) {
	for _, v := range samples {
		sum += v / float64(len(samples))
	}
	return sum
}

// has reports whether there is any sample of a measure.
func (r *results) has(id string) bool {
	return slices.ContainsFunc(r.Contenders, func(c string) bool { return len(r.Samples[c][id]) > 0 })
}

// write prints the table, with a line for each measure and a column for each contender.
func (r *results) write(w io.Writer) {
	var present []string
	for _, c := range r.Contenders {
		if len(r.Samples[c]) > 0 {
			present = append(present, c)
		}
	}
	fmt.Fprintf(w, "\nMedians of %d rounds. Congestion control of TCP: %s.\n%-29s %8s", r.Rounds, r.Congestion, "", "")
	for _, c := range present {
		fmt.Fprintf(w, " %12s", c)
	}
	fmt.Fprintln(w)
	for _, m := range measures {
		if !r.has(m.ID) {
			continue
		}
		fmt.Fprintf(w, "%-29s %8s", m.title, m.unit)
		for _, c := range present {
			fmt.Fprintf(w, " %12s", m.text(r.median(c, m.ID)))
		}
		fmt.Fprintln(w)
	}
	for _, c := range r.Contenders {
		if why := r.Missing[c]; why != "" {
			fmt.Fprintf(w, "%s is missing: %s\n", c, why)
		}
	}
	r.writeBars(w)
}

func (m *measure) text(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf(m.format, v*m.scale)
}

// A bar is what step 8 has to reach: a ratio to another contender's result or, without
// another contender, a value in the measure's unit.
type bar struct {
	id, over      string
	of            string // whose result; "" is step 8
	least, aim    float64
	lowerIsBetter bool
}

var bars = []bar{
	{id: "tcp-up", over: "wireguard-go", least: 1.7, aim: 2.5},
	{id: "tcp-down", over: "wireguard-go", least: 1.7, aim: 2.5},
	{id: "nat-up", over: "wireguard-go", least: 1.7, aim: 2.5},
	{id: "nat-down", over: "wireguard-go", least: 1.7, aim: 2.5},
	{id: "tcp-up", over: "OpenVPN", least: 6, aim: 10},
	{id: "tcp-down", over: "OpenVPN", least: 6, aim: 10},
	{id: "cpu", over: "wireguard-go", least: 0.55, aim: 0.4, lowerIsBetter: true},
	{id: "memory-server", least: 24, aim: 16, lowerIsBetter: true},
	{id: "ping", over: "wireguard-go", least: 0.8, aim: 0.6, lowerIsBetter: true},
	{id: "udp-64", over: "wireguard-go", least: 1.2, aim: 2},
	{id: "tcp-up", over: "wireguard-go", of: byWireGuard.name, least: 1.5, aim: 2},
	{id: "tcp-down", over: "wireguard-go", of: byWireGuard.name, least: 1.5, aim: 2},
	{id: "cpu", over: "wireguard-go", of: byWireGuard.name, least: 0.6, aim: 0.5, lowerIsBetter: true},
}

// writeBars prints which of the bars step 8 reaches.
func (r *results) writeBars(w io.Writer) {
	if len(r.Samples[step8.name])+len(r.Samples[byWireGuard.name]) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-44s %8s %8s %8s\n", "Step 8", "reached", "at least", "aim")
	for _, b := range bars {
		i := slices.IndexFunc(measures, func(m measure) bool { return m.ID == b.id })
		m := measures[i]
		v, what := r.median(cmp.Or(b.of, step8.name), b.id), m.title
		if b.of == byWireGuard.name {
			what, _, _ = strings.Cut(what, ",")
			what += " by WG"
		}
		if b.over != "" {
			v /= r.median(b.over, b.id)
			what += " / " + b.over
		} else {
			v *= m.scale
			what += ", " + m.unit
		}
		if math.IsNaN(v) {
			continue
		}
		writeBar(w, what, v, b)
	}
	if c := r.Crowd; c != nil {
		writeBar(w, fmt.Sprintf("throughput with %d clients / with 1", c.Clients+1), c.ratio(), bar{least: 0.9, aim: 1})
		fmt.Fprintf(w, "%-44s %8.0f\n", "handshakes per second", median(c.HandshakesPerSecond))
	}
}

func writeBar(w io.Writer, what string, v float64, b bar) {
	verdict := "missed"
	reached := func(limit float64) bool { return v >= limit && !b.lowerIsBetter || v <= limit && b.lowerIsBetter }
	switch {
	case reached(b.aim):
		verdict = "aim reached"
	case reached(b.least):
		verdict = "met"
	}
	fmt.Fprintf(w, "%-44s %8.2f %8.2f %8.2f  %s\n", what, v, b.least, b.aim, verdict)
}

// save writes the samples as JSON.
func (r *results) save(file string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// machine describes the machine.
func machine() string {
	model := "an unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	cpus := strings.Count(string(info), "processor\t:")
	if _, rest, ok := strings.Cut(string(info), "model name\t: "); ok {
		model, _, _ = strings.Cut(rest, "\n")
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d x %s, Linux %s", cpus, model, strings.TrimSpace(string(kernel)))
}

// congestion returns TCP's default congestion control on this host.
func congestion() string {
	name, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return strings.TrimSpace(string(name))
}
