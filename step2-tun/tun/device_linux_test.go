package tun

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/songgao/water"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// host is where these tests make their devices.
func host(t *testing.T) *netlab.Host { return netlab.New(t).Alice }

// openOn makes a device on the host, which ends with the test.
func openOn(t *testing.T, h *netlab.Host, c Config) *Device {
	t.Helper()
	dev, err := tryOpen(h, c)
	require.NoError(t, err)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func tryOpen(h *netlab.Host, c Config) (dev *Device, err error) {
	h.Do(func() { dev, err = Open(c) })
	return dev, err
}

// has reports whether the host has an interface of that name.
func has(h *netlab.Host, name string) bool {
	_, err := h.Try("ip", "link", "show", name)
	return err == nil
}

var vpn0 = Config{Name: "vpn0", Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64"), MTU: 1400}

func TestOpenConfigures(t *testing.T) {
	h := host(t)
	dev := openOn(t, h, vpn0)
	require.Equal(t, "vpn0", dev.Name())
	require.Equal(t, 1400, dev.MTU())

	show := h.Run(t, "ip", "-details", "address", "show", "vpn0")
	require.Contains(t, show, "<POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1400 ")
	require.Contains(t, show, "tun type tun pi off vnet_hdr off persist off ")
	require.Contains(t, show, "inet 10.8.0.1/24 ")
	require.Contains(t, show, "inet6 fd00:8::1/64 ")
	require.NotContains(t, show, "fe80:", "the kernel made up an address")
	require.NotContains(t, show, "tentative", "an address is not usable yet")

	require.Contains(t, h.Run(t, "ip", "route", "get", "10.8.0.77"), "dev vpn0 src 10.8.0.1")
	require.Contains(t, h.Run(t, "ip", "route", "get", "fd00:8::77"), "dev vpn0 ")
}

// An address is there when Open returns: the kernel does a part of that in the background.
func TestAddressesAreUsableAtOnce(t *testing.T) {
	h := host(t)
	for range 50 {
		dev := openOn(t, h, vpn0)
		h.Do(func() {
			for _, a := range vpn0.Addrs {
				routes, err := netlink.RouteGet(a.Addr().AsSlice())
				require.NoError(t, err)
				require.Equal(t, unix.RTN_LOCAL, routes[0].Type, "packets to %v are not for this host", a)
			}
		})
		require.NoError(t, dev.Close())
	}
}

// On a host where addresses never become usable, because somebody has taken away the rule for local ones, Open waits for a
// while and goes on.
func TestAddressesThatNeverAreUsable(t *testing.T) {
	h := host(t)
	h.Run(t, "ip", "-6", "rule", "add", "pref", "1", "lookup", "main") // as long as there are just its own, Linux doesn't ask them
	h.Run(t, "ip", "-6", "rule", "del", "pref", "0")
	dev := openOn(t, h, vpn0)
	h.Do(func() {
		require.False(t, isLocal(vpn0.Addrs[1].Addr()), "the rule is gone, so there was something to wait for")
	})
	require.Contains(t, h.Run(t, "ip", "address", "show", "vpn0"), "inet6 fd00:8::1/64 ")
	require.NoError(t, dev.Close())
}

func TestDefaults(t *testing.T) {
	h := host(t)
	first, second := openOn(t, h, Config{}), openOn(t, h, Config{})
	require.Equal(t, "tun0", first.Name())
	require.Equal(t, "tun1", second.Name())
	require.Equal(t, DefaultMTU, first.MTU())
	require.Contains(t, h.Run(t, "ip", "link", "show", "tun0"), "mtu 1500 ")
}

func TestSixteenAddressesAndTheLimitsOfTheMTU(t *testing.T) {
	h := host(t)
	c := Config{Name: "vpn0", MTU: 65535}
	for i := range 15 {
		c.Addrs = append(c.Addrs, prefixes(fmt.Sprintf("10.8.%d.1/24", i))...)
	}
	c.Addrs = append(c.Addrs, prefixes("fd00:8::1/128")...)
	openOn(t, h, c)
	require.Equal(t, 16, strings.Count(h.Run(t, "ip", "-oneline", "address", "show", "vpn0"), "vpn0 "))
	require.Contains(t, h.Run(t, "ip", "link", "show", "vpn0"), "mtu 65535 ")

	openOn(t, h, Config{Name: "vpn1", MTU: 68})
	require.Contains(t, h.Run(t, "ip", "link", "show", "vpn1"), "mtu 68 ")
}

// sendTo returns a function that sends the host's packets with n bytes of data
// to a UDP port behind the device.
func sendTo(t *testing.T, h *netlab.Host, address string) func(data []byte) {
	var conn net.Conn
	var err error
	h.Do(func() { conn, err = net.Dial("udp", address) })
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return func(data []byte) {
		_, err := conn.Write(data)
		require.NoError(t, err)
	}
}

// A packet goes out of the host through the device, and an answer goes in.
func TestPacketsBothWays(t *testing.T) {
	h := host(t)
	c := vpn0
	c.Drops = new(link.Drops)
	dev := openOn(t, h, c)
	var conn net.Conn
	var err error
	h.Do(func() { conn, err = net.Dial("udp", "10.8.0.2:5555") })
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)

	b := link.NewBurst()
	require.NoError(t, dev.ReadBurst(b))
	require.Equal(t, 1, b.Len())
	p := b.At(0)
	require.Len(t, p, 20+8+5)
	require.Equal(t, "hello", string(p[28:]))

	// Exchange addresses and ports: the checksums stay right.
	swap := func(i, j, n int) {
		for k := range n {
			p[i+k], p[j+k] = p[j+k], p[i+k]
		}
	}
	swap(12, 16, 4)
	swap(20, 22, 2)
	require.NoError(t, dev.WriteBurst(b))
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	require.NoError(t, err)
	require.Equal(t, "hello", string(answer[:n]))
	require.Equal(t, "none", c.Drops.String())
}

// The largest packet of all arrives whole.
func TestLargestPacket(t *testing.T) {
	h := host(t)
	dev := openOn(t, h, Config{Name: "vpn0", Addrs: prefixes("10.8.0.1/24"), MTU: 65535})
	sendTo(t, h, "10.8.0.2:5555")(make([]byte, 65535-28))
	b := link.NewBurst()
	require.NoError(t, dev.ReadBurst(b))
	require.Len(t, b.At(0), 65535)
}

// Right after Open the device is silent, also on a host that looks for routers.
func TestKernelIsSilent(t *testing.T) {
	h := host(t)
	// As it is on a desktop: the host takes router advertisements, so it asks for them.
	h.Write(t, "ipv6/conf/default/accept_ra", "1")
	h.Write(t, "ipv6/conf/default/router_solicitation_delay", "0")
	h.Write(t, "ipv6/conf/default/router_solicitation_interval", "1")

	// Proof that such a host talks: a device that water made, and nobody configured.
	var loud *water.Interface
	var err error
	h.Do(func() { loud, err = water.New(water.Config{DeviceType: water.TUN}) })
	require.NoError(t, err)
	defer loud.Close()
	dev := openOn(t, h, vpn0) // it is up before the other one asks
	h.Run(t, "ip", "link", "set", loud.Name(), "up")
	p := make([]byte, 2000)
	for range 2 {
		n, err := loud.Read(p)
		require.NoError(t, err)
		require.Equal(t, byte(6), p[0]>>4, "% x", p[:n])
	}

	// The first packet from our device is the one that we send.
	sendTo(t, h, "10.8.0.2:5555")([]byte("hello"))
	b := link.NewBurst()
	require.NoError(t, dev.ReadBurst(b))
	require.Equal(t, "hello", string(b.At(0)[28:]), "% x", b.At(0))
}

// Close ends a ReadBurst that waits, may be called twice, and ends the device.
func TestClose(t *testing.T) {
	h := host(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dev := openOn(t, h, vpn0)
	require.True(t, has(h, "vpn0"))
	errs := make(chan error)
	go func() { errs <- dev.ReadBurst(link.NewBurst()) }()
	require.NoError(t, dev.Close())
	require.ErrorIs(t, <-errs, net.ErrClosed)
	require.NoError(t, dev.Close())
	require.False(t, has(h, "vpn0"))

	b := link.NewBurst()
	require.ErrorIs(t, dev.ReadBurst(b), net.ErrClosed)
	b.Reset()
	b.Alloc(20)
	require.ErrorIs(t, dev.WriteBurst(b), net.ErrClosed)
}

// Many times, as it is a race: Close comes before, while and after the reader
// begins to wait.
func TestCloseWhileReading(t *testing.T) {
	h := host(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 30 {
		dev := openOn(t, h, Config{Name: "vpn0"})
		errs := make(chan error)
		go func() { errs <- dev.ReadBurst(link.NewBurst()) }()
		dev.Close()
		require.ErrorIs(t, <-errs, net.ErrClosed)
	}
}

// Somebody deletes the device: that is the end, and it is said clearly.
func TestDeletedByOthers(t *testing.T) {
	h := host(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 10 {
		dev := openOn(t, h, vpn0)
		errs := make(chan error)
		go func() { errs <- dev.ReadBurst(link.NewBurst()) }()
		h.Run(t, "ip", "link", "delete", "vpn0")
		require.EqualError(t, <-errs, "device vpn0 was deleted by somebody else")
		b := link.NewBurst()
		b.Alloc(20)[0] = 0x45
		require.EqualError(t, dev.WriteBurst(b), "device vpn0 was deleted by somebody else")
		require.NoError(t, dev.Close())
	}
}

// Packets that the host does not accept are counted, and the device goes on.
func TestDrops(t *testing.T) {
	h := host(t)
	c := vpn0
	c.Drops = new(link.Drops)
	dev := openOn(t, h, c)
	b := link.NewBurst()
	write := func(p ...byte) {
		b.Reset()
		copy(b.Alloc(len(p)), p)
		require.NoError(t, dev.WriteBurst(b))
	}
	write(1, 2, 3)
	write()
	require.Equal(t, "malformed 2", c.Drops.String())
	h.Run(t, "ip", "link", "set", "vpn0", "down")
	write(0x45, 0, 0, 20)
	require.Equal(t, "malformed 2, unreachable 1", c.Drops.String())
	h.Run(t, "ip", "link", "set", "vpn0", "up")
	write(0x45, 0, 0, 20) // the kernel takes it, and throws it away later
	require.Equal(t, "malformed 2, unreachable 1", c.Drops.String())

	// Without counters it is the same.
	quiet := openOn(t, h, Config{Name: "vpn1"})
	b.Reset()
	b.Alloc(1)
	require.NoError(t, quiet.WriteBurst(b))
}

// The faults that a test cannot bring about.
func TestPassing(t *testing.T) {
	for _, c := range []struct {
		err     error
		reason  link.Reason
		passing bool
	}{
		{syscall.ENOMEM, link.QueueFull, true},
		{syscall.ENOBUFS, link.QueueFull, true},
		{syscall.EBADF, 0, false},
		{io.ErrUnexpectedEOF, 0, false},
	} {
		var drops link.Drops
		err := &fs.PathError{Op: "write", Path: "tun", Err: c.err}
		require.Equal(t, c.passing, Passing(err, &drops), c.err)
		require.Equal(t, c.passing, Passing(err, nil), c.err)
		want := uint64(0)
		if c.passing {
			want = 1
		}
		require.Equal(t, want, drops.Count(c.reason), c.err)
	}
}

func TestNameTaken(t *testing.T) {
	h := host(t)
	openOn(t, h, vpn0)
	for _, c := range []Config{vpn0, {Name: "eth0"}} {
		_, err := tryOpen(h, c)
		require.EqualError(t, err, "device name "+c.Name+" is taken")
	}
	for name, want := range map[string]string{
		"vpn0": "device name vpn0 is taken", // another program has it
		"eth0": "device eth0 exists, and is not a TUN device",
	} {
		_, err := tryOpen(h, Config{Name: name, Persist: true})
		require.EqualError(t, err, want)
		require.True(t, has(h, name))
	}
}

func TestPersist(t *testing.T) {
	h := host(t)
	keep := vpn0
	keep.Persist = true
	for range 2 { // the second takes over what the first left
		dev := openOn(t, h, keep)
		require.NoError(t, dev.Close())
		require.Contains(t, h.Run(t, "ip", "-details", "address", "show", "vpn0"), "persist on")
		require.Contains(t, h.Run(t, "ip", "address", "show", "vpn0"), "inet 10.8.0.1/24 ")
	}
	// Without Persist it is not touched: water would make the kernel delete it.
	_, err := tryOpen(h, vpn0)
	require.EqualError(t, err, "device name vpn0 is taken")
	require.True(t, has(h, "vpn0"))
	h.Run(t, "ip", "link", "delete", "vpn0")
}

// The third act of Open fails: the kernel refuses the IPv6 address. The device
// that was made already is gone, and so is a persistent one. One that was there
// before stays.
func TestNothingHalfDone(t *testing.T) {
	h := host(t)
	h.Write(t, "ipv6/conf/default/disable_ipv6", "1")
	for _, persist := range []bool{false, true} {
		c := vpn0
		c.Persist = persist
		_, err := tryOpen(h, c)
		require.EqualError(t, err, "device vpn0: adding the address fd00:8::1/64: permission denied")
		require.False(t, has(h, "vpn0"), "persist %v", persist)
	}
	h.Run(t, "ip", "tuntap", "add", "mode", "tun", "vpn0")
	c := vpn0
	c.Persist = true
	_, err := tryOpen(h, c)
	require.Error(t, err)
	require.True(t, has(h, "vpn0"))

	// IPv4 alone works on such a host.
	openOn(t, h, Config{Name: "vpn1", Addrs: prefixes("10.8.0.1/24")})
}

// A program that we start must not get the descriptor: it would keep the device.
func TestChildDoesNotInheritTheDevice(t *testing.T) {
	h := host(t)
	inherited := func() int {
		return strings.Count(h.Run(t, "ls", "-l", "/proc/self/fd/"), "/dev/net/tun")
	}
	before := inherited() // water leaks the descriptor when it fails, as it did in other tests
	openOn(t, h, vpn0)
	require.Equal(t, before, inherited())

	// Proof that the test would see it: what water opens is inherited.
	var raw *water.Interface
	var err error
	h.Do(func() { raw, err = water.New(water.Config{DeviceType: water.TUN}) })
	require.NoError(t, err)
	require.Equal(t, before+1, inherited())
	require.NoError(t, raw.Close())
	require.Equal(t, before, inherited())
}

// The answers of kernels that this test does not run on.
func TestExplain(t *testing.T) {
	open := func(err error) error { return &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: err} }
	ioctl := func(err error) error { return os.NewSyscallError("ioctl", err) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{open(unix.EACCES), "no permission to make a network device: "},
		{ioctl(unix.EPERM), "no permission to make a network device: "},
		{open(unix.ENOENT), "no TUN driver behind /dev/net/tun: "},
		{open(unix.ENODEV), "no TUN driver behind /dev/net/tun: "},
		{open(unix.ENXIO), "no TUN driver behind /dev/net/tun: "},
		{open(unix.EMFILE), "making a TUN device: "},
	} {
		require.EqualError(t, explain("vpn0", c.err), c.want+c.err.Error())
	}
}

// Only an IPv6 address that is refused because IPv6 is off gets the hint to switch it on.
func TestExplainAddr(t *testing.T) {
	for _, c := range []struct {
		addr string
		err  error
		hint bool
	}{
		{"fd00:8::1/64", unix.EACCES, true},
		{"fd00:8::1/64", unix.EOPNOTSUPP, true},
		{"fd00:8::1/64", unix.EAFNOSUPPORT, true},
		{"fd00:8::1/64", unix.EPERM, false},
		{"10.8.0.1/24", unix.EACCES, false},
	} {
		err := explainAddr(prefixes(c.addr)[0], c.err)
		require.EqualError(t, err, "adding the address "+c.addr+": "+c.err.Error())
		require.Equal(t, c.hint, strings.Contains(app.HintOf(err), "disable_ipv6=0"), "%v", err)
	}
}

// In both directions the data path allocates nothing.
func TestNoAllocations(t *testing.T) {
	h := host(t)
	dev := openOn(t, h, vpn0)
	send := sendTo(t, h, "10.8.0.2:5555")
	data := []byte("hello")
	b := link.NewBurst()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		send(data)
		if err := dev.ReadBurst(b); err != nil {
			t.Fatal(err)
		}
		if err := dev.WriteBurst(b); err != nil {
			t.Fatal(err)
		}
	}))
}
