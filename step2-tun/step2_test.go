// Package step2_test runs tundump on a host of the lab, and compares what it
// says with what tcpdump says about the same packets.
package step2_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/tundump") }

// startTundump starts tundump on the host; the device is up when it returns.
func startTundump(t *testing.T, h *netlab.Host, args ...string) *netlab.Process {
	t.Helper()
	p := h.Start(t, netlab.Program("tundump"), args...)
	p.WaitLog(t, "INFO the device is up name=")
	return p
}

// packetLine is a line of tundump about a packet: time, and the rest.
var packetLine = regexp.MustCompile(`(?m)^(\d\d:\d\d:\d\d\.\d{6}) ((?:\S+ > \S+ |malformed: ).*)$`)

// packetLines returns tundump's lines about packets once there are n of them.
func packetLines(t *testing.T, p *netlab.Process, n int) []string {
	t.Helper()
	var lines []string
	netlab.Eventually(t, 10*time.Second, "tundump prints more packets", func() bool {
		lines = packetLine.FindAllString(p.Log(), -1)
		return len(lines) >= n
	})
	require.Len(t, lines, n, strings.Join(lines, "\n"))
	return lines
}

// inject sends bytes into the device as they are, whatever they are. The kernel
// checks nothing of what comes out of a packet socket.
func inject(t *testing.T, h *netlab.Host, device string, packets ...[]byte) {
	t.Helper()
	h.Do(func() {
		iface, err := net.InterfaceByName(device)
		require.NoError(t, err)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: iface.Index}
		for _, p := range packets {
			require.NoError(t, unix.Sendto(fd, p, 0, to), "% x", p)
		}
	})
}

// hasDevice reports whether the host has an interface of that name.
func hasDevice(h *netlab.Host, name string) bool {
	_, err := h.Try("ip", "link", "show", name)
	return err == nil
}

// Ctrl-C ends it with exit code 0, the number of packets, and without the device.
func TestCtrlC(t *testing.T) {
	alice := netlab.New(t).Alice
	p := startTundump(t, alice)
	require.True(t, hasDevice(alice, "vpn0"))
	require.Contains(t, p.Log(), `name=vpn0 addresses="[10.8.0.1/24 fd00:8::1/64]" mtu=1500`)
	alice.Try("ping", "-c1", "-W0.1", "10.8.0.2")
	packetLines(t, p, 1)
	p.Signal(syscall.SIGUSR1)
	p.WaitLog(t, "tundump: packets 1\n")
	alice.Try("ping", "-c1", "-W0.1", "10.8.0.2")
	packetLines(t, p, 2)
	p.Interrupt()
	require.Equal(t, 0, p.Wait(t))
	require.Contains(t, p.Log(), "tundump: packets 2\n")
	require.False(t, hasDevice(alice, "vpn0"))
}

func TestKilled(t *testing.T) {
	alice := netlab.New(t).Alice
	p := startTundump(t, alice)
	require.True(t, hasDevice(alice, "vpn0"))
	p.Kill()
	p.Wait(t)
	require.False(t, hasDevice(alice, "vpn0"))
}

func TestPersist(t *testing.T) {
	alice := netlab.New(t).Alice
	for range 2 { // the second one takes over what the first one left
		p := startTundump(t, alice, "-persist")
		p.Interrupt()
		require.Equal(t, 0, p.Wait(t))
		require.True(t, hasDevice(alice, "vpn0"))
	}
}

func TestDeviceDeletedByOthers(t *testing.T) {
	alice := netlab.New(t).Alice
	p := startTundump(t, alice)
	alice.Run(t, "ip", "link", "delete", "vpn0")
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "tundump: device vpn0 was deleted by somebody else\n")
}

// Each mistake gets one line and a hint, and no device is left.
func TestErrors(t *testing.T) {
	alice := netlab.New(t).Alice
	tundump := netlab.Program("tundump")
	unwritable := filepath.Join(t.TempDir(), "no", "such.pcap")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{2, `device name "a-name-of-16-byt" is too long`, []string{"-dev", "a-name-of-16-byt"}},
		{2, "Choose one of at most 15 bytes.", []string{"-dev", "a-name-of-16-byt"}},
		{2, `device name "vpn 0" is not allowed`, []string{"-dev", "vpn 0"}},
		{2, "MTU 67 is not between 68 and 65535", []string{"-mtu", "67"}},
		{2, "MTU 1279 is too small for the IPv6 address fd00:8::1/64", []string{"-mtu", "1279"}},
		{2, `"10.8.0.1" is not an address with a prefix length`, []string{"-addr", "10.8.0.1"}},
		{2, "invalid value \"many\" for flag -mtu", []string{"-mtu", "many"}},
		{2, "'tundump -help' lists the flags.", []string{"-no-such-flag"}},
		{2, `unexpected argument "vpn0"`, []string{"vpn0"}},
		{1, "device name eth0 is taken", []string{"-dev", "eth0"}},
		{1, "ip -details link show eth0", []string{"-dev", "eth0"}},
		{1, "device eth0 exists, and is not a TUN device", []string{"-dev", "eth0", "-persist"}},
		{1, "open " + unwritable + ": no such file or directory", []string{"-pcap", unwritable}},
	} {
		out, err := alice.Try(tundump, c.args...)
		require.Contains(t, out, c.want)
		require.EqualError(t, err, "exit status "+string(rune('0'+c.code)), "%v: %s", c.args, out)
		require.False(t, hasDevice(alice, "vpn0"), c.args)
	}

	// A second program with the same device name is refused, and the first one goes on.
	first := startTundump(t, alice)
	out, err := alice.Try(tundump)
	require.EqualError(t, err, "exit status 1")
	require.Contains(t, out, "device name vpn0 is taken\n  Choose another one with -dev.")
	alice.Try("ping", "-c1", "-W0.1", "10.8.0.2")
	packetLines(t, first, 1)
}

// An ordinary user: to the kernel, that is a process without the capability CAP_NET_ADMIN.
func TestNotRoot(t *testing.T) {
	alice := netlab.New(t).Alice
	out, err := alice.Try("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", netlab.Program("tundump"))
	require.EqualError(t, err, "exit status 1")
	require.Contains(t, out, "tundump: no permission to make a network device: ioctl: operation not permitted\n"+
		"  Run it as root (sudo), or in the lab: make demo\n")
}

func TestHostWithoutIPv6(t *testing.T) {
	alice := netlab.New(t).Alice
	alice.Write(t, "ipv6/conf/default/disable_ipv6", "1")
	out, err := alice.Try(netlab.Program("tundump"))
	require.EqualError(t, err, "exit status 1")
	require.Contains(t, out, "tundump: device vpn0: adding the address fd00:8::1/64: permission denied\n"+
		"  IPv6 is switched off on this host: leave fd00:8::1/64 out of -addr, ")
	require.False(t, hasDevice(alice, "vpn0"))
	startTundump(t, alice, "-addr", "10.8.0.1/24")
}

// With -answer, hosts that don't exist answer pings: the kernel and ping take the answer for
// a real one. A ping in pieces gets none, nor does one over IPv6.
func TestAnswer(t *testing.T) {
	alice := netlab.New(t).Alice
	ping := func(args ...string) error {
		_, err := alice.Try("ping", append([]string{"-c1"}, args...)...)
		return err
	}
	p := startTundump(t, alice)
	require.Error(t, ping("-W0.5", "10.8.0.2"), "without the flag it only watches")
	p.Interrupt()
	require.Equal(t, 0, p.Wait(t))

	file := filepath.Join(t.TempDir(), "answered.pcap")
	p = startTundump(t, alice, "-answer", "-pcap", file)
	out := alice.Run(t, "ping", "-c3", "-i0.1", "-W10", "10.8.0.2")
	require.Contains(t, out, "64 bytes from 10.8.0.2: icmp_seq=3 ttl=64 time=")
	require.NotContains(t, out, "wrong data")
	require.NoError(t, ping("-W10", "-s", "1", "10.8.0.200"), "an odd number of bytes")
	require.NoError(t, ping("-W10", "-s", "1472", "-p", "ff00aa", "10.8.0.77"), "the longest in one piece")
	require.Error(t, ping("-W0.5", "-s", "4000", "10.8.0.2"))
	require.Error(t, ping("-W0.5", "fd00:8::2"))
	lines := packetLines(t, p, 3+1+1+3+1)
	require.Contains(t, lines[0], "10.8.0.1 > 10.8.0.2    ICMP      84 bytes  ttl 64   echo request, id ")
	require.NotContains(t, alice.Run(t, "tcpdump", "-nn", "-r", file), "echo reply", "written before it is answered")
	p.Interrupt()
	require.Equal(t, 0, p.Wait(t))
}

// Bytes that are no packets are described, and end nothing.
func TestMalformed(t *testing.T) {
	alice := netlab.New(t).Alice
	file := filepath.Join(t.TempDir(), "malformed.pcap")
	p := startTundump(t, alice, "-pcap", file)
	good := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0x65, 0xdb, 10, 8, 0, 1, 10, 8, 0, 2}
	inject(t, alice, "vpn0",
		[]byte{0},
		[]byte{0x45},
		append(good, 0),
		[]byte{0x4f, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2},
		[]byte{0x46, 0, 0, 24, 0, 0, 0, 0, 64, 253, 0x5a, 0xd7, 10, 8, 0, 1, 10, 8, 0, 2, 7, 0, 0, 0},
		[]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0x66, 0xd2, 10, 8, 0, 1, 10, 8, 0, 2},
		append([]byte{0x60, 0, 0, 1}, make([]byte, 36)...), // hop-by-hop, but nothing there
		good,
	)
	var got []string
	for _, line := range packetLines(t, p, 8) {
		got = append(got, packetLine.FindStringSubmatch(line)[2])
	}
	require.Equal(t, []string{
		"malformed: IP version is neither 4 nor 6 (1 bytes: 00)",
		"malformed: shorter than the 20 bytes of an IPv4 header (1 bytes: 45)",
		"malformed: length field differs from the number of bytes (21 bytes: 45 00 00 14 00 00 00 00 40 fd 65 db 0a 08 00 01)",
		"malformed: IPv4 header length is under 20 bytes, or beyond the packet (20 bytes: 4f 00 00 14 00 00 00 00 40 fd 00 00 0a 08 00 01)",
		"10.8.0.1 > 10.8.0.2    protocol 253    24 bytes  ttl 64   bad header checksum, malformed: IPv4 option has an impossible length",
		"10.8.0.1 > 10.8.0.2    TCP       20 bytes  ttl 64, malformed: shorter than the 20 bytes of a TCP header",
		":: > ::                hop-by-hop    40 bytes  ttl 0, malformed: IPv6 extension header goes beyond the packet",
		"10.8.0.1 > 10.8.0.2    protocol 253    20 bytes  ttl 64",
	}, got)
	p.Interrupt()
	require.Equal(t, 0, p.Wait(t))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, int64(24+8*16+1+1+21+20+24+20+40+20), info.Size(), "every packet is in the file, as it came")
}
