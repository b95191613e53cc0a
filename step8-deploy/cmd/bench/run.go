package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepvpn/shared/app"
)

// run is the command that measures the contenders and writes the results. It is what 'make
// bench' runs.
var run = app.Command{
	Name:  "run",
	About: "Measures all contenders, in turn, for several rounds. Prints medians and ratios, and writes samples and a chart to out/.",
	Setup: func() func(context.Context, []string) error {
		b := &benchmark{results: newResults()}
		flag.IntVar(&b.rounds, "rounds", 3, "measure each contender `N` times, in turn")
		flag.IntVar(&b.seconds, "seconds", 2, "measure throughput for this many `seconds`")
		flag.StringVar(&b.results.Congestion, "congestion", congestion(), "TCP's congestion control: `NAME`")
		flag.IntVar(&b.clients, "clients", 1000, "`N` clients in the crowd")
		flag.StringVar(&b.out, "out", "out", "write to this `folder`")
		flag.StringVar(&stepvpn, "stepvpn", stepvpn, "measure this `program` as step 8")
		peers := flag.String("peers", "", "only these contenders, separated by commas (default: all): "+strings.Join(names(), ","))
		some := flag.String("measures", "", "only these measures, separated by commas (default: all): "+strings.Join(groups, ","))
		return func(ctx context.Context, _ []string) (err error) {
			if b.peers, err = choose("-peers", *peers, names()); err != nil {
				return err
			}
			if b.measures, err = choose("-measures", *some, groups); err != nil {
				return err
			}
			if b.rounds < 1 || b.seconds < 1 || b.clients < 1 {
				return app.Usage("-rounds, -seconds and -clients are at least 1")
			}
			return b.run(ctx)
		}
	},
}

// contenders are the VPNs that are compared, in the order of the results.
var contenders = []*contender{&wire, &wireguard, &openvpn, &tinc, &step3, &step4, &step7, &step8, &byWireGuard}

// groups are the measurements that can be chosen.
var groups = []string{"tcp", "nat", "udp", "ping", "crowd"}

// A benchmark is one run, with its options.
type benchmark struct {
	rounds, seconds int
	peers, measures []string
	clients         int
	out             string

	traffic *traffic
	results *results
	lab     addresses
}

func names() (list []string) {
	for _, c := range contenders {
		list = append(list, c.name)
	}
	return list
}

// choose checks a list of words.
func choose(name, list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	words := strings.Split(list, ",")
	for _, w := range words {
		if !slices.Contains(all, w) {
			return nil, app.Usage("%s: there is no %q; there are %s", name, w, strings.Join(all, ", "))
		}
	}
	return words, nil
}

func (b *benchmark) wants(group string) bool { return slices.Contains(b.measures, group) }

func (b *benchmark) run(ctx context.Context) (err error) {
	var dir string
	if b.lab, dir, err = inLab(); err != nil {
		return err
	}
	b.traffic, err = startTraffic(ctx, dir, b.seconds, b.results.Congestion)
	defer b.traffic.close()
	if err != nil {
		return err
	}
	r := b.results
	r.Rounds, r.Seconds, r.Host = b.rounds, b.seconds, machine()
	var here []*contender
	for _, c := range contenders {
		if !slices.Contains(b.peers, c.name) {
			continue
		}
		r.Contenders = append(r.Contenders, c.name)
		r.About[c.name] = c.about
		if err := c.missing(); err != nil {
			r.Missing[c.name] = err.Error()
			fmt.Printf("%s is left out: %v\n", c.name, err)
			continue
		}
		here = append(here, c)
	}
	for round := range b.rounds {
		for _, c := range here {
			if err := b.measure(ctx, c, filepath.Join(dir, "contender")); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				// If a contender fails, the others are measured nevertheless.
				r.Missing[c.name] = err.Error()
				fmt.Printf("round %d: %s: %v\n", round+1, c.name, err)
				continue
			}
			fmt.Printf("round %d: %s\n", round+1, r.lastOf(c.name))
		}
	}
	if b.wants("crowd") && slices.Contains(here, &step8) {
		if r.Crowd, err = b.crowd(ctx, filepath.Join(dir, "crowd")); err != nil {
			return err
		}
	}
	return b.publish()
}

// inLab returns the lab's addresses, and its folder.
func inLab() (a addresses, dir string, err error) {
	a, dir = addresses{server: os.Getenv("SERVER4"), web: os.Getenv("WEB4")}, os.Getenv("LAB")
	if a.server == "" || a.web == "" || dir == "" {
		return a, "", app.Hint(errors.New("this is not the lab"), "Start it with ./bench.sh, or make bench.")
	}
	return a, dir, nil
}

// publish prints the table, and writes it, the samples and the chart to files.
func (b *benchmark) publish() error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	var table strings.Builder
	b.results.write(&table)
	fmt.Print(table.String())
	return errors.Join(
		os.WriteFile(filepath.Join(b.out, "bench.txt"), []byte(table.String()), 0o644),
		b.results.save(filepath.Join(b.out, "bench.json")),
		os.WriteFile(filepath.Join(b.out, "bench.svg"), b.results.chart(), 0o644),
	)
}

// lastOf shows the newest samples of a contender in one line.
func (r *results) lastOf(contender string) string {
	line := fmt.Sprintf("%-12s", contender)
	for _, m := range measures {
		if s := r.Samples[contender][m.ID]; len(s) > 0 {
			line += fmt.Sprintf("  %s %s", m.ID, m.text(s[len(s)-1]))
		}
	}
	return line
}

// measure starts a contender, measures it, and stops it, without leaving anything behind.
func (b *benchmark) measure(ctx context.Context, c *contender, dir string) error {
	t, err := c.start(ctx, dir, b.lab)
	defer t.close()
	if err != nil {
		return err
	}
	add := func(id string, v float64) { b.results.add(c.name, id, v) }
	if t.client != nil {
		add("connect", t.connect.Seconds())
	}
	for _, group := range []struct {
		name string
		f    func(context.Context, *tunnel, func(string, float64)) error
	}{{"ping", b.pings}, {"tcp", b.throughput}, {"nat", b.throughNAT}, {"udp", b.packets}} {
		if !b.wants(group.name) {
			continue
		}
		if err := group.f(ctx, t, add); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if t.client == nil {
		return nil
	}
	for id, p := range map[string]*process{"memory-server": t.server, "memory-client": t.client} {
		n, err := p.peak()
		if err != nil {
			return err
		}
		add(id, float64(n))
	}
	return nil
}

// cpu returns the processor time of both ends so far, in seconds.
func (t *tunnel) cpu() float64 {
	var sum float64
	for _, p := range []*process{t.server, t.client} {
		if p != nil {
			d, _ := p.cpu() // on an error the process has ended, and the next measurement fails
			sum += d.Seconds()
		}
	}
	return sum
}

// throughput measures TCP between the two ends of the tunnel.
func (b *benchmark) throughput(_ context.Context, t *tunnel, add func(string, float64)) error {
	begin, moved := t.cpu(), 0
	for _, m := range []struct {
		id      string
		options []string
	}{{"tcp-up", nil}, {"tcp-down", []string{"-R"}}} {
		rate, n, err := b.traffic.tcp(t.addr, m.options...)
		if err != nil {
			return err
		}
		add(m.id, rate)
		moved += n
	}
	if t.client != nil {
		add("cpu", (t.cpu()-begin)/float64(moved))
	}
	rate, _, err := b.traffic.tcp(t.addr, "-P", "4")
	add("tcp-4", rate)
	return err
}

// throughNAT measures TCP with a host behind the server.
func (b *benchmark) throughNAT(_ context.Context, t *tunnel, add func(string, float64)) error {
	for _, m := range []struct {
		id      string
		options []string
	}{{"nat-up", nil}, {"nat-down", []string{"-R"}}, {"nat-4", []string{"-P", "4"}}} {
		rate, _, err := b.traffic.tcp(b.lab.web, m.options...)
		if err != nil {
			return err
		}
		add(m.id, rate)
	}
	return nil
}

// packets measures how many UDP packets get through.
func (b *benchmark) packets(ctx context.Context, t *tunnel, add func(string, float64)) error {
	for _, m := range []struct {
		id   string
		size int
	}{{"udp-64", 64}, {"udp-1400", 1400}} {
		rate, err := b.traffic.rate(ctx, t.addr, m.size)
		if err != nil {
			return err
		}
		add(m.id, rate)
	}
	return nil
}

const (
	idlePings = 100
	loadPings = 150 // 1.5 s
)

// pings measures round trips, first of an idle tunnel, then under a TCP upload.
func (b *benchmark) pings(_ context.Context, t *tunnel, add func(string, float64)) error {
	trips, err := b.traffic.ping(t.addr, idlePings)
	if err != nil {
		return err
	}
	add("ping", mean(trips))
	add("ping-99", percentile(trips, 0.99))
	loaded := make(chan error, 1)
	go func() {
		_, _, err := b.traffic.tcp(t.addr)
		loaded <- err
	}()
	trips, err = b.traffic.ping(t.addr, loadPings)
	if err := errors.Join(err, <-loaded); err != nil {
		return err
	}
	add("ping-load", mean(trips))
	add("ping-load-99", percentile(trips, 0.99))
	return nil
}
