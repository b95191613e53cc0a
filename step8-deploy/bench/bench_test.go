package bench

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stepvpn/shared/netlab"
)

var (
	rounds  = flag.Int("rounds", 3, "measure each tunnel so many times")
	seconds = flag.Int("seconds", 3, "so long each time")
)

// A contender is one way from alice to the server.
type contender struct {
	name      string
	addr      string            // of the server
	processes []*netlab.Process // both ends

	rates, udp, pings []float64 // Mbit/s; small packets per second; ms
	cpu               []float64 // s per GB, both ends
}

// BenchmarkTunnels compares TCP throughput, small UDP packets and the time of a
// ping, of the wire, wireguard-go, and of a tunnel with simple ends and one with
// fast ends. They take turns: the machine's speed drifts, so only the ratios of
// one run mean something. -rounds and -seconds say how much is measured.
//
// wireguard-go takes part if it is in the PATH:
//
//	go install golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446
//	ln -s wireguard "$(go env GOPATH)/bin/wireguard-go"
func BenchmarkTunnels(b *testing.B) {
	lab := netlab.New(b)
	list := []*contender{
		{name: "plain wire", addr: lab.Server.V4.String()},
		ours(b, lab, "simple ends", "vpn1", 5556, "10.9.0", "-simple"),
		ours(b, lab, "fast ends", "vpn0", 5555, "10.8.0"),
	}
	if _, err := exec.LookPath("wireguard-go"); err != nil {
		b.Log("wireguard-go is not here, so it is left out: ", err)
	} else {
		list = slices.Insert(list, 1, wireguard(b, lab))
	}
	lab.Server.Start(b, "iperf3", "-s", "--forceflush").WaitLog(b, "Server listening")
	for range *rounds {
		for _, c := range list {
			c.measure(b, lab)
		}
	}
	print(list)
	b.ReportMetric(0, "ns/op") // it logs nothing of interest here
}

// ours starts a tunnel of our own.
func ours(b *testing.B, lab *netlab.Lab, name, dev string, port int, network string, flags ...string) *contender {
	server := lab.Server.Start(b, netlab.Program("peer"), append([]string{"-mtu", "1420", "-dev", dev,
		"-listen", fmt.Sprintf(":%d", port), "-addr", network + ".1/24"}, flags...)...)
	server.WaitLog(b, "tunnel is up")
	client := lab.Alice.Start(b, netlab.Program("peer"), append([]string{"-mtu", "1420", "-dev", dev,
		"-server", fmt.Sprintf("%v:%d", lab.Server.V4, port), "-addr", network + ".2/24"}, flags...)...)
	client.WaitLog(b, "tunnel is up")
	return ready(b, lab, &contender{name: name, addr: network + ".1", processes: []*netlab.Process{client, server}})
}

func ready(b *testing.B, lab *netlab.Lab, c *contender) *contender {
	netlab.Eventually(b, limit, c.name+" carries packets", func() bool {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", c.addr)
		return err == nil
	})
	return c
}

func (c *contender) measure(b *testing.B, lab *netlab.Lab) {
	before := c.cpuSeconds(b)
	tcp := c.iperf(b, lab)
	used := c.cpuSeconds(b) - before
	c.rates = append(c.rates, tcp.BitsPerSecond/1e6)
	c.cpu = append(c.cpu, used/(tcp.Bytes/1e9))
	udp := c.iperf(b, lab, "-u", "-b", "0", "-l", "64")
	c.udp = append(c.udp, float64(udp.Packets-udp.Lost)/udp.Seconds)
	out := lab.Alice.Run(b, "ping", "-q", "-c", "200", "-i", "0.005", c.addr)
	m := regexp.MustCompile(`= [\d.]+/([\d.]+)/`).FindStringSubmatch(out)
	if m == nil {
		b.Fatal(out)
	}
	avg, _ := strconv.ParseFloat(m[1], 64)
	c.pings = append(c.pings, avg)
}

// sum is what iperf3's receiver saw.
type sum struct {
	Bytes         float64
	Seconds       float64
	BitsPerSecond float64 `json:"bits_per_second"`
	Packets       int
	Lost          int `json:"lost_packets"`
}

func (c *contender) iperf(b *testing.B, lab *netlab.Lab, flags ...string) sum {
	var result struct {
		End struct {
			Received sum `json:"sum_received"`
			Sum      sum
		}
	}
	var out string
	netlab.Eventually(b, limit, "iperf3 is free", func() bool { // a server that is still ending the last run answers "busy"
		var err error
		out, err = lab.Alice.Try("iperf3", append([]string{"-J", "-t", strconv.Itoa(*seconds), "-c", c.addr}, flags...)...)
		return err == nil
	})
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		b.Fatal(err)
	}
	if len(flags) > 0 {
		return result.End.Sum
	}
	return result.End.Received
}

// cpuSeconds returns the processor time that both ends have used.
func (c *contender) cpuSeconds(b *testing.B) (s float64) {
	const ticks = 100 // USER_HZ
	for _, p := range c.processes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		s += (user + system) / ticks
	}
	return s
}

// peak returns the peak memory, in MB, of the end that has used more.
func (c *contender) peak() (mb float64) {
	for _, p := range c.processes {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if m := regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status); m != nil {
			kb, _ := strconv.ParseFloat(string(m[1]), 64)
			mb = max(mb, kb/1024)
		}
	}
	return mb
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// print prints the medians, and their ratios to those of the second contender.
func print(list []*contender) {
	base := list[1] // wireguard-go, or else the simple ends
	column := func(c *contender, get func(*contender) []float64) string {
		m := median(get(c))
		return fmt.Sprintf("%10.*f %6.2f", precision(m), m, m/cmp.Or(median(get(base)), math.NaN()))
	}
	fmt.Printf("\n%-14s %17s %17s %17s %17s %7s\n%-14s %17s\n", "", "TCP Mbit/s", "CPU s/GB", "UDP 64 B pkt/s", "ping ms", "peak MB",
		"", "(behind each: of "+base.name+"'s)")
	for _, c := range list {
		fmt.Printf("%-14s %s %s %s %s %7.0f\n", c.name,
			column(c, func(c *contender) []float64 { return c.rates }),
			column(c, func(c *contender) []float64 { return c.cpu }),
			column(c, func(c *contender) []float64 { return c.udp }),
			column(c, func(c *contender) []float64 { return c.pings }), c.peak())
	}
}

func precision(x float64) int {
	if x < 100 {
		return 2
	}
	return 0
}
