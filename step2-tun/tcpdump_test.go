package step2_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// tundump prints each packet and writes it to a file; tcpdump reads the file.
// From tcpdump's text follows, field by field, the line that tundump should have
// printed.
func TestTcpdumpAgrees(t *testing.T) {
	alice := netlab.New(t).Alice
	file := filepath.Join(t.TempDir(), "test.pcap")
	p := startTundump(t, alice, "-pcap", file)

	// Packets that the kernel makes.
	ping := func(args ...string) { alice.Try("ping", append([]string{"-c1", "-W0.1"}, args...)...) }
	ping("10.8.0.2")
	ping("fd00:8::2")
	ping("-t", "3", "10.8.0.200")
	ping("-t", "3", "fd00:8::200")
	ping("-s", "4000", "10.8.0.2")          // 3 fragments
	ping("-s", "4000", "fd00:8::2")         // 3 fragments
	ping("-R", "10.8.0.2")                  // option: record-route
	ping("-T", "tsonly", "10.8.0.2")        // option: timestamp
	ping("-M", "do", "-s", "0", "10.8.0.2") // no data
	sendUDP(t, alice, "10.8.0.2:5555", 5, nil)
	sendUDP(t, alice, "10.8.0.2:5555", 3000, nil) // 3 fragments
	sendUDP(t, alice, "[fd00:8::2]:5555", 5, nil)
	sendUDP(t, alice, "[fd00:8::2]:5555", 0, extensionOptions)
	sendUDP(t, alice, "[fd00:8::2]:5555", 3000, extensionOptions) // 3 fragments
	alice.Try("curl", "--silent", "--connect-timeout", "0.2", "http://10.8.0.2:8080/")
	alice.Try("curl", "--silent", "--connect-timeout", "0.2", "http://[fd00:8::2]:8080/")
	const fromKernel = 4 + 3 + 3 + 3 + 1 + 3 + 1 + 1 + 3 + 2
	packetLines(t, p, fromKernel)

	// Packets that a kernel does not make on request.
	injected := injectedPackets()
	inject(t, alice, "vpn0", injected...)
	lines := packetLines(t, p, fromKernel+len(injected))

	// The file can be read while tundump runs.
	want := readTcpdump(t, alice.Run(t, "tcpdump", "-nn", "-v", "-r", file))
	require.Equal(t, want, lines)

	// Each kind that is meant to be compared was compared.
	all := strings.Join(lines, "\n")
	for _, kind := range []string{
		"ICMP ", "ICMPv6 ", "UDP ", "TCP ", "GRE ", "ESP ", "no-next-header ", "protocol 253 ", "ttl 3 ",
		"echo request, id ", "echo reply, id ", "port 1 > 2, SYN+ACK", "FIN+SYN+RST+PSH+ACK+URG+ECE+CWR", "no flags", "SYN\n",
		"fragment at 0 of packet ", "fragment at 1480 of packet ", "fragment at 2896 of packet ", "the last", "bad header checksum",
		"options: record-route", "options: timestamp",
		"extension headers: hop-by-hop destination-options\n", "extension headers: fragment\n", "extension headers: hop-by-hop destination-options fragment\n",
		"extension headers: AH\n", "extension headers: routing\n",
	} {
		require.Contains(t, all+"\n", kind)
	}
}

// A line of tcpdump -nn -v, which has a time zone's time as tundump has.
var (
	tcpdumpIPv4 = regexp.MustCompile(`^(\S+) IP \(tos \S+, ttl (?P<ttl>\d+), id (?P<id>\d+), offset (?P<offset>\d+), flags \[(?P<more>.*?)\], ` +
		`proto (?P<protocol>\S+) \((?P<number>\d+)\), length (?P<length>\d+)(?:, options \((?P<options>.*?)\))?(?P<bad>, bad cksum .*?!)?\) +(?P<src>\S+) > (?P<dst>\S+): (?P<rest>.*)$`)
	tcpdumpIPv6 = regexp.MustCompile(`^(\S+) IP6 \((?:class \S+, )?(?:flowlabel \S+, )?hlim (?P<ttl>\d+), ` +
		`next-header .* payload length: (?P<length>\d+)\) (?P<src>\S+) > (?P<dst>\S+): (?P<rest>.*)$`)
	tcpdumpFragment = regexp.MustCompile(`^frag \(0x(\w+):(\d+)\|(\d+)\) ?`)
	tcpdumpAH       = regexp.MustCompile(`^AH\(.*?\): `)
	tcpdumpRouting  = regexp.MustCompile(`^(RT6|srcrt) \(.*?\) `)
	tcpdumpOptions  = regexp.MustCompile(`^(HBH|DSTOPT) (\(.*?\) )+`)
	tcpdumpSum      = regexp.MustCompile(`\[[^]]*(sum|cksum)[^]]*\] `)
	tcpdumpPorts    = regexp.MustCompile(`^(\d+) > (\d+): `) // behind extension headers
	tcpdumpTCP      = regexp.MustCompile(`^Flags \[(.*?)\], `)
	tcpdumpEcho     = regexp.MustCompile(`echo (request|reply), id \d+, seq \d+`)
)

// readTcpdump turns tcpdump's text into the lines of tundump.
func readTcpdump(t *testing.T, text string) []string {
	t.Helper()
	text = regexp.MustCompile(`\n[ \t]+`).ReplaceAllString(text, " ") // a packet's lines are joined
	last6 := make(map[uint64]string)                                  // the protocol by fragment ID: tcpdump does not repeat it
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "reading from file ") || strings.HasPrefix(line, "Warning: ") {
			continue
		}
		if m := fields(tcpdumpIPv4, line); m != nil {
			lines = append(lines, fromIPv4(m))
		} else if m := fields(tcpdumpIPv6, line); m != nil {
			lines = append(lines, fromIPv6(t, m, last6))
		} else {
			t.Fatalf("this test does not understand tcpdump: %s", line)
		}
	}
	return lines
}

// fields returns the named parts of a match; "time" is the first one.
func fields(re *regexp.Regexp, line string) map[string]string {
	m := re.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	all := map[string]string{"time": m[1]}
	for i, name := range re.SubexpNames() {
		if name != "" {
			all[name] = m[i]
		}
	}
	return all
}

func fromIPv4(m map[string]string) string {
	protocol := m["protocol"]
	if protocol == "unknown" {
		protocol = "protocol " + m["number"]
	}
	var details []string
	src, dst := m["src"], m["dst"]
	if m["offset"] == "0" {
		src, dst, details = payload(protocol, src, dst, m["rest"])
	}
	if m["more"] == "+" || m["offset"] != "0" {
		details = append(details, fragment(m["offset"], m["id"], m["more"] == "+"))
	}
	for name, shown := range map[string]string{"RR": "record-route", "TS": "timestamp"} {
		if regexp.MustCompile(`\b` + name + `\b`).MatchString(m["options"]) {
			details = append(details, "options: "+shown)
		}
	}
	if m["bad"] != "" {
		details = append(details, "bad header checksum")
	}
	length, _ := strconv.Atoi(m["length"])
	return tundumpLine(m["time"], src, dst, protocol, length, m["ttl"], details)
}

func fromIPv6(t *testing.T, m map[string]string, protocols map[uint64]string) string {
	src, dst, rest := m["src"], m["dst"], m["rest"]
	var extensions []string
	var piece, offset string
	var id uint64
	for {
		if h := tcpdumpOptions.FindStringSubmatch(rest); h != nil {
			extensions = append(extensions, map[string]string{"HBH": "hop-by-hop", "DSTOPT": "destination-options"}[h[1]])
			rest = rest[len(h[0]):]
		} else if h := tcpdumpAH.FindString(rest); h != "" {
			extensions = append(extensions, "AH")
			rest = rest[len(h):]
		} else if h := tcpdumpRouting.FindString(rest); h != "" {
			extensions = append(extensions, "routing")
			rest = rest[len(h):]
		} else if h := tcpdumpFragment.FindStringSubmatch(rest); h != nil {
			extensions = append(extensions, "fragment")
			rest = rest[len(h[0]):]
			id, _ = strconv.ParseUint(h[1], 16, 32)
			offset = h[2]
			// tcpdump -v does not say whether there are more; all but the last
			// of this test are full.
			end, _ := strconv.Atoi(h[3])
			piece = fragment(offset, strconv.FormatUint(id, 10), end >= 1400)
		} else {
			break
		}
	}
	if ports := tcpdumpPorts.FindStringSubmatch(rest); ports != nil {
		src, dst, rest = src+"."+ports[1], dst+"."+ports[2], rest[len(ports[0]):]
	}
	rest = tcpdumpSum.ReplaceAllString(rest, "")
	protocol := ""
	switch {
	case piece != "" && offset != "0":
		protocol = protocols[id]
	case strings.HasPrefix(rest, "ICMP6, "):
		protocol = "ICMPv6"
	case strings.HasPrefix(rest, "Flags ["):
		protocol = "TCP"
	case strings.HasPrefix(rest, "UDP, "):
		protocol = "UDP"
	case strings.HasPrefix(rest, "no next header"):
		protocol = "no-next-header"
	case strings.HasPrefix(rest, "ESP("):
		protocol = "ESP"
	default:
		t.Fatalf("this test does not understand tcpdump: %s", m["rest"])
	}
	var details []string
	if piece == "" || offset == "0" {
		protocols[id] = protocol
		src, dst, details = payload(protocol, src, dst, rest)
	}
	if piece != "" {
		details = append(details, piece)
	}
	if extensions != nil {
		details = append(details, "extension headers: "+strings.Join(extensions, " "))
	}
	length, _ := strconv.Atoi(m["length"])
	return tundumpLine(m["time"], src, dst, protocol, 40+length, m["ttl"], details)
}

// payload reads what tcpdump says of the transport header. It writes the ports
// behind the addresses: 10.8.0.1.40000 > 10.8.0.2.80.
func payload(protocol, src, dst, rest string) (string, string, []string) {
	switch protocol {
	case "TCP", "UDP":
		var ports [2]string
		for i, a := range []*string{&src, &dst} {
			dot := strings.LastIndex(*a, ".")
			*a, ports[i] = (*a)[:dot], (*a)[dot+1:]
		}
		details := []string{fmt.Sprintf("port %s > %s", ports[0], ports[1])}
		if m := tcpdumpTCP.FindStringSubmatch(rest); m != nil {
			details = append(details, flags(m[1]))
		}
		return src, dst, details
	case "ICMP", "ICMPv6":
		return src, dst, []string{tcpdumpEcho.FindString(rest)}
	}
	return src, dst, nil
}

// flags turns tcpdump's "S." into "SYN+ACK".
func flags(letters string) string {
	if letters == "none" {
		return "no flags"
	}
	var set []string
	for _, f := range []struct{ letter, name string }{
		{"F", "FIN"}, {"S", "SYN"}, {"R", "RST"}, {"P", "PSH"}, {".", "ACK"}, {"U", "URG"}, {"E", "ECE"}, {"W", "CWR"},
	} {
		if strings.Contains(letters, f.letter) {
			set = append(set, f.name)
		}
	}
	return strings.Join(set, "+")
}

func fragment(offset, id string, more bool) string {
	last := "the last"
	if more {
		last = "more follow"
	}
	return fmt.Sprintf("fragment at %s of packet %s, %s", offset, id, last)
}

// tundumpLine is the line that tundump prints for these fields.
func tundumpLine(time, src, dst, protocol string, length int, ttl string, details []string) string {
	return strings.TrimRight(fmt.Sprintf("%s %-22s %-6s %5d bytes  ttl %-3s  %s",
		time, src+" > "+dst, protocol, length, ttl, strings.Join(details, ", ")), " ")
}

// sendUDP sends n bytes from the host. The socket may be prepared.
func sendUDP(t *testing.T, h *netlab.Host, to string, n int, prepare func(network, address string, c syscall.RawConn) error) {
	t.Helper()
	h.Do(func() {
		d := net.Dialer{Control: prepare}
		conn, err := d.DialContext(context.Background(), "udp", to)
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write(make([]byte, n))
		require.NoError(t, err)
	})
}

// extensionOptions has the kernel put a hop-by-hop header and a destination
// options header into each packet; both have padding only.
func extensionOptions(_, _ string, c syscall.RawConn) error {
	padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0})
	var err error
	c.Control(func(fd uintptr) {
		for _, option := range []int{unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS} {
			if err == nil {
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, option, padding)
			}
		}
	})
	return err
}
