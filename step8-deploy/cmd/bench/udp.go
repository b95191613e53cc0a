package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/packet"
)

// This file finds out how many UDP packets per second a path carries.

// rate searches for the highest rate, in packets per second, at which packets of size bytes
// (with their headers) get through with a loss below maxLoss. It doubles the rate while that
// works, then bisects. A rate counts as too high if it has failed twice, as a busy machine
// may fail once.
func (t *traffic) rate(ctx context.Context, addr string, size int) (best float64, err error) {
	try := func(asked float64) (bool, error) {
		for range tries {
			got, ok, err := t.probe(addr, size, asked)
			if err != nil || ctx.Err() != nil {
				return false, err
			}
			if ok {
				best = max(best, got)
				return true, nil
			}
		}
		return false, nil
	}
	low, high := 0.0, float64(firstRate)
	for ; high <= maxRate; low, high = high, 2*high {
		if ok, err := try(high); err != nil {
			return 0, err
		} else if !ok {
			break
		}
	}
	for range bisect {
		middle := math.Sqrt(max(low, firstRate/8) * high)
		if ok, err := try(middle); err != nil {
			return 0, err
		} else if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return best, ctx.Err()
}

const (
	sinkPort = 7000
	ipAndUDP = packet.IPv4HeaderLen + packet.UDPHeaderLen

	maxLoss   = 0.005 // a loss up to this counts as "without loss"
	firstRate = 20_000
	maxRate   = 1_280_000 // packets per second
	tries     = 2
	bisect    = 4 // steps of the search between the last good rate and the first bad one
)

// probe sends for a while, and returns how many packets per second arrived, and whether these
// were all.
func (t *traffic) probe(addr string, size int, asked float64) (got float64, ok bool, err error) {
	if _, err := t.sink.ask("reset"); err != nil {
		return 0, false, err
	}
	answer, err := t.source.ask(fmt.Sprintf("%s:%d %d %f %s", addr, sinkPort, size-ipAndUDP, asked, t.probeTime))
	if err != nil {
		return 0, false, err
	}
	var sent, received int
	var seconds float64
	if _, err := fmt.Sscan(answer, &sent, &seconds); err != nil {
		return 0, false, fmt.Errorf("the source says %q", answer)
	}
	for before := -1; received != before; time.Sleep(20 * time.Millisecond) { // some are still on the way
		before = received
		if answer, err = t.sink.ask("count"); err != nil {
			return 0, false, err
		}
		fmt.Sscan(answer, &received)
	}
	return float64(received) / seconds, received > 0 && float64(received) >= (1-maxLoss)*float64(sent), nil
}

const (
	batch     = 32                   // packets in one sendmmsg
	burstTime = 2 * time.Millisecond // the longest delay that the source catches up with
)

var source = app.Command{
	Name:  "source",
	About: "Sends UDP packets as each line of standard input says: ADDRESS BYTES RATE TIME. Prints how many it has sent, and in how many seconds.",
	Setup: func() func(context.Context, []string) error {
		return func(context.Context, []string) error {
			lines := bufio.NewScanner(os.Stdin)
			for lines.Scan() {
				var addr, d string
				var size int
				var rate float64
				if _, err := fmt.Sscan(lines.Text(), &addr, &size, &rate, &d); err != nil {
					return err
				}
				duration, err := time.ParseDuration(d)
				if err != nil {
					return err
				}
				sent, took, err := send(addr, size, rate, duration)
				if err != nil {
					return err
				}
				fmt.Println(sent, took.Seconds())
			}
			return lines.Err()
		}
	},
}

// send sends packets at a rate: each time those that are due since the last time, one batch
// per call. It does not catch up with time in which it could not send, as no queue would take
// such a burst. The kernel gets single packets, without UDP_SEGMENT, which few programs use.
func send(addr string, size int, rate float64, duration time.Duration) (sent int, took time.Duration, err error) {
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	p := ipv4.NewPacketConn(conn.(*net.UDPConn))
	messages := make([]ipv4.Message, batch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, size)}
	}
	var late time.Duration
	start := time.Now()
	for ; took < duration; took = time.Since(start) {
		due := int(rate*(took-late).Seconds()) + 1 - sent
		if due <= 0 {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		if most := max(batch, int(rate*burstTime.Seconds())); due > most {
			late += time.Duration(float64(due-most) / rate * float64(time.Second))
		}
		n, err := p.WriteBatch(messages[:min(due, batch)], 0)
		if err != nil {
			return 0, 0, err
		}
		sent += n
	}
	return sent, took, nil
}

var sink = app.Command{
	Name:  "sink",
	About: "Receives UDP packets. For each line of standard input, prints how many it has received; the line 'reset' starts again from 0.",
	Setup: func() func(context.Context, []string) error {
		port := flag.Int("port", sinkPort, "receive on `PORT`")
		return func(context.Context, []string) error { return receive(*port) }
	},
}

func receive(port int) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := growBuffer(conn); err != nil {
		return err
	}
	var count atomic.Int64
	go func() {
		p := ipv4.NewPacketConn(conn)
		messages := make([]ipv4.Message, 2*batch)
		for i := range messages {
			messages[i].Buffers = [][]byte{make([]byte, 2048)}
		}
		for {
			n, err := p.ReadBatch(messages, 0)
			if err != nil {
				return
			}
			count.Add(int64(n))
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "reset" {
			count.Store(0)
		}
		fmt.Println(count.Load())
	}
	return lines.Err()
}
