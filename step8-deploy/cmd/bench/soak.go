package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// soak is the command that runs step 8 under load for a while, and looks for leaks.
var soak = app.Command{
	Name:  "soak",
	About: "Runs step 8 at full rate in both directions for a while: memory and goroutines must not grow, and each packet must arrive or be counted.",
	Setup: func() func(context.Context, []string) error {
		d := flag.Duration("time", time.Minute, "how `long`")
		flag.StringVar(&stepvpn, "stepvpn", stepvpn, "run this `program`")
		return func(ctx context.Context, _ []string) error {
			if *d < 3*time.Second {
				return app.Usage("-time is at least 3s")
			}
			return runSoak(ctx, *d)
		}
	},
}

const (
	soakGrowth  = 0.05 // the growth of memory that is allowed, from the first third of the time to the last
	soakStreams = 2    // each way
)

func runSoak(ctx context.Context, d time.Duration) error {
	lab, dir, err := inLab()
	if err != nil {
		return err
	}
	traffic, err := startTraffic(ctx, dir, int(d.Seconds()), congestion())
	defer traffic.close()
	if err != nil {
		return err
	}

	// First count the goroutines of an idle pair, to compare with.
	idle, err := step8.start(ctx, filepath.Join(dir, "idle"), lab)
	if err != nil {
		idle.close()
		return err
	}
	before := [2]int{goroutines(idle.server), goroutines(idle.client)}
	idle.close()

	t, err := step8.start(ctx, filepath.Join(dir, "soak"), lab)
	defer t.close()
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	go func() {
		rate, _, err := traffic.tcp(t.addr, "--bidir", "-P", fmt.Sprint(soakStreams))
		fmt.Printf("to the server: %.2f Gbit/s, with as many streams the other way\n", rate/1e9)
		lost <- err
	}()
	servers, clients, err := watch(ctx, t, d)
	if err := errors.Join(err, <-lost); err != nil {
		return err
	}
	faults := errors.Join(
		flat("server", servers), flat("client", clients),
		accounted(ctx, t),
		same("server", before[0], goroutines(t.server)), same("client", before[1], goroutines(t.client)),
	)
	if faults == nil {
		fmt.Println("soak: memory is flat, no goroutine is left over, every packet arrived or was counted")
	}
	return faults
}

// watch records the memory of both ends, once per second.
func watch(ctx context.Context, t *tunnel, d time.Duration) (servers, clients []int, err error) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(time.Second):
		}
		s, err1 := t.server.memory("VmRSS")
		c, err2 := t.client.memory("VmRSS")
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		servers, clients = append(servers, s), append(clients, c)
		if n := len(servers); n%10 == 0 {
			fmt.Printf("%3d s: server %.1f MB, client %.1f MB\n", n, float64(s)*1e-6, float64(c)*1e-6)
		}
	}
	return servers, clients, nil
}

// flat compares the last third of the samples with the first.
func flat(who string, samples []int) error {
	third := len(samples) / 3
	most := func(list []int) (n int) {
		for _, v := range list {
			n = max(n, v)
		}
		return n
	}
	first, last := most(samples[:third]), most(samples[len(samples)-third:])
	if float64(last) > (1+soakGrowth)*float64(first) {
		return fmt.Errorf("the %s's memory has grown from %d to %d bytes", who, first, last)
	}
	return nil
}

// accounted compares how many packets each end has sent with how many the other one received,
// and how many were dropped and counted, by them or by the kernel.
func accounted(ctx context.Context, t *tunnel) error {
	s, err1 := report(ctx, t.server, "server.sock")
	c, err2 := report(ctx, t.client, "client.sock")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// The kernel counts datagrams that came together (GRO) as one.
	kernel := kernelDrops(t.server) + kernelDrops(t.client)
	named := kernel * link.MaxBurst
	for _, drops := range []map[string]uint64{s.Drops, c.Drops} {
		for reason, n := range drops {
			named += n
			if n > 0 {
				fmt.Printf("dropped: %s %d\n", reason, n)
			}
		}
	}
	sent := s.Peers[0].Sent.Packets + c.Peers[0].Sent.Packets
	received := s.Peers[0].Received.Packets + c.Peers[0].Received.Packets
	fmt.Printf("sent %d packets, received %d; a receive buffer of the kernel was full for %d bursts\n", sent, received, kernel)
	// named also includes packets that were dropped before they were sent.
	if sent > received+named {
		return fmt.Errorf("%d packets are missing, and no reason was counted for %d", sent-received, sent-received-named)
	}
	return nil
}

// report asks a daemon for its status.
func report(ctx context.Context, p *process, socket string) (*status.Report, error) {
	// The socket is in the host's own /run.
	r, err := control.QueryStatus(ctx, fmt.Sprintf("/proc/%d/root/run/stepvpn/%s", p.cmd.Process.Pid, socket))
	if err == nil && len(r.Peers) != 1 {
		err = fmt.Errorf("%s has %d peers", socket, len(r.Peers))
	}
	return r, err
}

// kernelDrops returns how many datagrams, or runs of them, the host of a process has
// dropped because a socket's buffer was full (RcvbufErrors of /proc/net/snmp).
func kernelDrops(p *process) uint64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", p.cmd.Process.Pid))
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			var n uint64
			if name == "RcvbufErrors" {
				fmt.Sscan(f[i], &n)
				return n
			}
		}
	}
	return 0
}

// goroutines ends a process as SIGQUIT ends a Go program, which prints its
// goroutines, and counts those that the program has started. The runtime starts some
// of its own, for its garbage collector, when it first needs them.
func goroutines(p *process) int {
	p.cmd.Process.Signal(syscall.SIGQUIT)
	<-p.done
	out, _ := os.ReadFile(p.log)
	return bytes.Count(out, []byte("\ncreated by ")) - bytes.Count(out, []byte("\ncreated by runtime."))
}

// same returns an error if there are more goroutines than before.
func same(who string, before, after int) error {
	fmt.Printf("goroutines of the %s: %d idle, %d in the end\n", who, before, after)
	if before == 0 || after > before {
		return fmt.Errorf("the %s has %d goroutines, but had %d before", who, after, before)
	}
	return nil
}
