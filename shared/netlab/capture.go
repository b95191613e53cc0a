package netlab

import (
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Capture is tcpdump at work on a host.
type Capture struct {
	File string // pcap; complete after Stop

	host    *Host
	t       testing.TB
	tcpdump *Process
}

// Capture records the packets of an interface that match filter, in tcpdump's
// language; "" is all of them. It has begun when Capture returns.
func (h *Host) Capture(t testing.TB, iface, filter string) *Capture {
	t.Helper()
	c := &Capture{File: filepath.Join(t.TempDir(), h.Name+"-"+iface+".pcap"), host: h, t: t}
	// tcpdump stays root (-Z), or could not write the file. -B makes room for
	// 64 MiB that a busy tcpdump gets to later. Not --immediate-mode: with it the
	// room is for 512 packets of any size, and a burst is lost.
	c.tcpdump = h.Start(t, "tcpdump", "-Z", "root", "-U", "-B", "65536", "-n", "-i", iface, "-w", c.File, filter)
	c.tcpdump.WaitLog(t, "listening on")
	return c
}

// Stop ends the capture, and returns tcpdump's line for each packet that passed
// the interface before, without the time. It takes up to a second: the kernel
// hands packets over by the block. If any was lost, the test fails.
func (c *Capture) Stop() []string {
	c.t.Helper()
	c.flush()
	c.tcpdump.Interrupt()
	c.tcpdump.Wait(c.t)
	return c.Read()
}

// Read returns the lines of what was captured, with more options for tcpdump,
// such as "-v", "-A", or a filter. Call it after Stop.
func (c *Capture) Read(options ...string) []string {
	c.t.Helper()
	args := append([]string{"-n", "-t", "-r", c.File}, options...)
	var lines []string
	for line := range strings.Lines(c.host.Run(c.t, "tcpdump", args...)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "reading from file") && !strings.HasPrefix(line, "Warning: ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// report is what tcpdump prints on SIGUSR1.
var report = regexp.MustCompile(`(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel`)

// flush waits until tcpdump has written all that the kernel had given it when flush
// was called: then as many packets were captured as were received. The two may
// differ for ever, for the kernel also counts packets that came in the moment before
// it had the filter, and that do not match it. A difference that has been the same
// for three times as long as the kernel keeps a packet back is of that kind.
func (c *Capture) flush() {
	c.t.Helper()
	seen := len(report.FindAllString(c.tcpdump.Log(), -1))
	target, unfiltered, began := -1, math.MaxInt, time.Now()
	c.tcpdump.Signal(syscall.SIGUSR1)
	Eventually(c.t, waitLimit, "tcpdump has written all packets", func() bool {
		reports := report.FindAllStringSubmatch(c.tcpdump.Log(), -1)
		if len(reports) <= seen {
			return false
		}
		seen = len(reports)
		number := func(i int) int { n, _ := strconv.Atoi(reports[seen-1][i]); return n }
		if lost := number(3); lost > 0 {
			c.t.Fatalf("the capture on %s lost %d packets; a check of it would prove nothing", c.host.Name, lost)
		}
		if target < 0 {
			target = number(2)
		}
		unfiltered = min(unfiltered, number(2)-number(1))
		if number(1) >= target || time.Since(began) > 3*time.Second && number(1) >= target-unfiltered {
			return true
		}
		c.tcpdump.Signal(syscall.SIGUSR1) // ask again
		return false
	})
}
