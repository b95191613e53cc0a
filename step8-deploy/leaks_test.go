package step8_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
)

// A watch records all packets that leave alice outside of her tunnel, while restless programs
// of hers talk to the web site and to the cafe's resolver: over IPv4 and IPv6, by UDP, TCP and
// ping, half of them tied to eth0. A watch has phases, so that a packet shows when it has
// left.
type watch struct {
	t       *testing.T
	capture *netlab.Capture
	probes  []*probe
	rounds  atomic.Int64
	stop    chan struct{}
	ended   chan struct{}
	phases  []phase
	sockets []int
	judged  bool
}

type phase struct {
	name  string
	open  bool // packets may leave, and those of all probes must
	some  bool // with open: those of some probes must
	began time.Time
}

// A probe is a packet that a restless program sends.
type probe struct {
	name string
	sign string // a part of tcpdump's line about it that no other line has
	send func()
}

// pause is the time between two rounds of probes.
const pause = 5 * time.Millisecond

// takesLong skips a test that takes long, except in 'make soak'.
func takesLong(t *testing.T) {
	t.Helper()
	if !soak.On() {
		t.Skip("it takes long; 'make soak' has it")
	}
}

// long reports whether to run a part of a test that takes long, and prints when it is left
// out.
func long(t *testing.T, what string) (do bool) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		takesLong(t)
		do = true
	})
	return do
}

// mac returns the MAC address of alice's eth0.
func (w *world) mac(t *testing.T) string {
	t.Helper()
	return strings.Fields(w.Alice.Run(t, "ip", "-br", "link", "show", "eth0"))[2]
}

// watch begins with a phase in which packets may or may not leave. Some packets never count:
// those for the VPN servers, DHCP, neighbour discovery and multicast group reports, errors
// about a neighbour's own packet, and packets for neighbours' private addresses.
func (w *world) watch(t *testing.T, name string, open bool) *watch {
	t.Helper()
	return w.watchFor(t, "", name, open)
}

// watchSite is like watch, but only for packets to the web site.
func (w *world) watchSite(t *testing.T, name string, open bool) *watch {
	t.Helper()
	return w.watchFor(t, fmt.Sprintf("dst host %v or dst host %v", w.Web.V4, w.Web.V6), name, open)
}

func (w *world) watchFor(t *testing.T, filter, name string, open bool) *watch {
	t.Helper()
	everything := fmt.Sprintf(`ether src %s and not arp and not ip proto 2 and not dst host ff02::16
		and not (dst port 5555 and (dst host %v or dst host %v or dst host %v))
		and not (udp and ((src port 68 and dst port 67) or (src port 546 and dst port 547)))
		and not dst net 192.168.44.0/24 and not dst net fd44::/64
		and not (icmp6 and ip6[40] >= 133 and ip6[40] <= 136)
		and not (icmp6 and ip6[40] = 1 and dst net fe80::/10)`, w.mac(t), w.Server.V4, w.Server.V6, w.Internet.V4)
	if filter != "" {
		everything += " and (" + filter + ")"
	}
	l := &watch{t: t, capture: w.Cafe.Capture(t, "br0", everything), stop: make(chan struct{}), ended: make(chan struct{})}
	l.phase(name, open)
	w.Alice.Do(func() { l.open(w, filter == "") })
	go func() {
		defer close(l.ended)
		w.Alice.Do(l.loop)
	}()
	t.Cleanup(func() {
		if !l.judged { // if the test has failed already, it is even more useful to know which packets have left
			l.verdict()
		}
	})
	l.more(1)
	return l
}

// phase begins the next phase. The one before ends when all probes were sent in it.
func (l *watch) phase(name string, open bool) {
	l.t.Helper()
	if len(l.phases) > 0 {
		l.more(2)
	}
	l.phases = append(l.phases, phase{name: name, open: open, began: time.Now()})
}

// more waits until the probes were sent n more times.
func (l *watch) more(n int) {
	l.t.Helper()
	until := l.rounds.Load() + int64(n)
	netlab.Eventually(l.t, limit, "the restless programs send", func() bool { return l.rounds.Load() > until })
}

// verdict ends the watch. The test fails if packets have left in a phase that does not allow
// it. It also fails if a probe was not seen in a phase that allows it: then its silence in the
// other phases proves nothing.
func (l *watch) verdict() {
	l.t.Helper()
	l.judged = true
	failed := l.t.Failed()
	l.more(2)
	for i, p := range l.phases {
		end := time.Now()
		if i+1 < len(l.phases) {
			end = l.phases[i+1].began
		}
		l.t.Logf("%5.1f s: %s", end.Sub(p.began).Seconds(), p.name)
	}
	close(l.stop)
	<-l.ended
	for _, fd := range l.sockets {
		unix.Close(fd)
	}
	l.capture.Stop()
	seen := make([][]string, len(l.phases))
	for _, line := range l.capture.Read("-t") { // -t twice: with the time in seconds
		stamp, rest, _ := strings.Cut(line, " ")
		seconds, err := strconv.ParseFloat(stamp, 64)
		require.NoError(l.t, err, line)
		at := time.UnixMicro(int64(seconds * 1e6))
		i := 0
		for i+1 < len(l.phases) && !at.Before(l.phases[i+1].began) {
			i++
		}
		seen[i] = append(seen[i], rest)
	}
	for i, p := range l.phases {
		lines := strings.Join(seen[i], "\n")
		if !p.open {
			if len(seen[i]) > 0 {
				l.t.Errorf("%s: %d packets have left:\n%s", p.name, len(seen[i]), l.summary(seen[i]))
			}
			continue
		}
		for _, probe := range l.probes {
			if !failed && !p.some && !strings.Contains(lines, probe.sign) {
				l.t.Errorf("%s: %s has not left; the search for strays would not find it", p.name, probe.name)
			}
		}
	}
}

// summary counts the lines of each probe, and shows the other lines.
func (l *watch) summary(lines []string) string {
	var b strings.Builder
	count := make(map[string]int)
	others := 0
	for _, line := range lines {
		name := ""
		for _, p := range l.probes {
			if strings.Contains(line, p.sign) {
				name = p.name
			}
		}
		if count[name]++; name == "" && others < 10 {
			others++
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	var known []string
	for _, p := range l.probes {
		if n := count[p.name]; n > 0 {
			known = append(known, fmt.Sprintf("%s (%d)", p.name, n))
		}
	}
	return b.String() + "  " + strings.Join(known, ", ")
}

// open opens the sockets, as programs do that were running before the VPN.
func (l *watch) open(w *world, resolver bool) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06secret\x07example\x00\x00\x01\x00\x01")
	for _, device := range []string{"", "eth0"} {
		how := map[string]string{"": "untied", "eth0": "tied"}[device]
		for _, to := range []struct {
			site, resolver netip.Addr
		}{{w.Web.V4, w.Cafe.V4}, {w.Web.V6, w.Cafe.V6}} {
			v := map[bool]string{true: "IPv4", false: "IPv6"}[to.site.Is4()]
			id := 41000 + len(l.probes)
			add := func(what, sign string, send func()) {
				l.probes = append(l.probes, &probe{how + " " + v + " " + what, sign, send})
			}
			udp := l.socket(to.site, unix.SOCK_DGRAM, 0, device, id)
			add("datagram", fmt.Sprintf(".%d > ", id), func() { unix.Sendto(udp, []byte("hello"), 0, sockaddr(to.site, 9)) })
			old := l.socket(to.site, unix.SOCK_DGRAM, 0, device, id+1)
			add("datagram of an old connection", fmt.Sprintf(".%d > ", id+1), func() {
				if _, err := unix.Write(old, []byte("hello")); err == unix.EDESTADDRREQ {
					unix.Connect(old, sockaddr(to.site, 9)) // as soon as there is a way to it
				}
			})
			if resolver {
				dns := l.socket(to.site, unix.SOCK_DGRAM, 0, device, id+2)
				add("query to the cafe's resolver", fmt.Sprintf(".%d > ", id+2), func() { unix.Sendto(dns, query, 0, sockaddr(to.resolver, 53)) })
			}
			protocol := unix.IPPROTO_ICMPV6
			if to.site.Is4() {
				protocol = unix.IPPROTO_ICMP
			}
			ping := l.socket(to.site, unix.SOCK_RAW, protocol, device, 0)
			echo := echoRequest(to.site, uint16(id+3))
			add("ping", fmt.Sprintf(" id %d,", id+3), func() { unix.Sendto(ping, echo, 0, sockaddr(to.site, 0)) })
			add("connection", fmt.Sprintf(".%d: Flags [S]", id+4), func() {
				if l.rounds.Load()%10 != 0 { // each one is a new socket
					return
				}
				tcp, err := open(to.site, unix.SOCK_STREAM, 0, device)
				if err == nil {
					unix.Connect(tcp, sockaddr(to.site, uint16(id+4)))
					unix.Close(tcp)
				}
			})
		}
	}
}

// loop sends all probes again and again. Most calls return an error.
func (l *watch) loop() {
	for tick := time.Tick(pause); ; {
		for _, p := range l.probes {
			p.send()
		}
		l.rounds.Add(1)
		select {
		case <-l.stop:
			return
		case <-tick:
		}
	}
}

// open opens a non-blocking socket for packets to an address.
func open(to netip.Addr, kind, protocol int, device string) (int, error) {
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err == nil && family == unix.AF_INET6 && kind != unix.SOCK_RAW {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil && device != "" {
		err = unix.BindToDevice(fd, device)
	}
	return fd, err
}

// socket stays open for as long as the watch lasts. It has a port, unless that is 0.
func (l *watch) socket(to netip.Addr, kind, protocol int, device string, port int) int {
	l.t.Helper()
	fd, err := open(to, kind, protocol, device)
	require.NoError(l.t, err)
	l.sockets = append(l.sockets, fd)
	if port != 0 {
		any := netip.IPv6Unspecified()
		if to.Is4() {
			any = netip.IPv4Unspecified()
		}
		require.NoError(l.t, unix.Bind(fd, sockaddr(any, uint16(port))))
	}
	return fd
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
}

// echoRequest is a request like ping's. For IPv6, the kernel computes the checksum.
func echoRequest(to netip.Addr, id uint16) []byte {
	b := make([]byte, 16)
	b[0] = 128
	binary.BigEndian.PutUint16(b[4:], id)
	if to.Is4() {
		b[0] = 8
		binary.BigEndian.PutUint16(b[2:], ^(0x0800 + id)) // id is below 0xf7ff: no carry
	}
	return b
}
