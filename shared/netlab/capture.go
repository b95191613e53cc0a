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

// Capture records the packets of an interface that match filter, which is in tcpdump's
// language; "" matches all. The capture has begun when Capture returns.
func (h *Host) Capture(t testing.TB, iface, filter string) *Capture {
	t.Helper()
	c := &Capture{File: filepath.Join(t.TempDir(), h.Name+"-"+iface+".pcap"), host: h, t: t}
	// tcpdump stays root (-Z), or it could not write the file. -B is a buffer of
	// 64 MiB for the packets that a busy tcpdump has not read yet. --immediate-mode
	// would limit the buffer to 512 packets of any size, and a burst would be lost.
	c.tcpdump = h.Start(t, "tcpdump", "-Z", "root", "-U", "-B", "65536", "-n", "-i", iface, "-w", c.File, filter)
	c.tcpdump.WaitLog(t, "listening on")
	return c
}

// Stop ends the capture, and returns tcpdump's line, without the time, for each packet
// that passed the interface before. It takes up to a second, because the kernel hands
// packets over in blocks. If any packet was lost, the test fails.
func (c *Capture) Stop() []string {
	c.t.Helper()
	c.flush()
	c.tcpdump.Interrupt()
	c.tcpdump.Wait(c.t)
	return c.Read()
}

// Read returns tcpdump's lines for the captured packets, with more options for tcpdump,
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

// report matches what tcpdump prints on SIGUSR1.
var report = regexp.MustCompile(`(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel`)

// flush waits until tcpdump has written all packets that the kernel had received when
// flush was called: then the number captured equals the number received. The two may
// differ for ever, because the kernel also counts packets that came just before it had
// the filter, and that do not match it. If the difference is still the same after three
// times as long as the kernel holds packets back, it consists of such packets.
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
