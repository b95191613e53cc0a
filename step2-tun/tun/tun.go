// Package tun opens a TUN device: a network interface of the host whose other
// end is this program. The program reads, packet by packet, what the host sends
// into the interface; and the host receives what the program writes as if it had
// come from a network.
//
// Introduced in step 2.
//
// The device is made by songgao/water. On Linux its addresses and MTU are set
// through netlink, and Linux is the platform that the tests run on. macOS has
// the same Device on top of utun; there the code is built, but not run, by the
// tests.
package tun

import (
	"net/netip"

	"stepvpn/shared/link"
)

// Limits in bytes on the MTU, the longest packet that the device carries.
const (
	DefaultMTU = 1500  // that of Ethernet
	minMTU     = 68    // every IPv4 link carries that much (RFC 791, section 3.2)
	maxMTU     = 65535 // the largest IPv4 packet (RFC 791, section 3.1)
)

// maxAddrs bounds the addresses of a device. More are a mistake.
const maxAddrs = 16

// A Config says what device to make. The zero value stands for a device with a name
// that the kernel chooses, no address, and an MTU of DefaultMTU.
type Config struct {
	// Name of the interface, at most 15 bytes. Empty lets the kernel choose. On
	// macOS it must be "utun" and a number.
	Name string

	// Addrs are the host's addresses on the device, up to 16. The prefix length
	// says which addresses the host reaches through it: with 10.8.0.1/24 the host
	// is 10.8.0.1, and 10.8.0.2 to 10.8.0.254 are routed into the device.
	Addrs []netip.Prefix

	// MTU in bytes: 68 to 65535, and at least 1280 with an IPv6 address. 0
	// stands for DefaultMTU.
	MTU int

	// Persist keeps the device, with its addresses, when the program ends, and takes
	// over an existing one that was kept before or made by "ip tuntap add". Without
	// it, the device vanishes when the process ends, for whatever reason, and a name
	// that is already taken is refused. Linux only.
	Persist bool

	// Drops counts the packets that the host did not accept. It may be nil.
	Drops *link.Drops
}

// A Device is a TUN device that is up. As a link.Link, it carries one packet per
// burst. A packet that the host does not accept is dropped and counted: as Malformed
// if it is not an IP packet (EINVAL), as Unreachable if the device is down (EIO), as
// QueueFull if the host is short of memory (ENOMEM, ENOBUFS).
type Device struct {
	link.Link
	name string
	mtu  int
}

// Name returns the name of the interface.
func (d *Device) Name() string { return d.name }

// MTU returns the length in bytes of the longest packet that the host sends
// into the device. It is the value that Open set: another program may have changed
// the device's MTU since.
func (d *Device) MTU() int { return d.mtu }

// Open makes a device, configures it and brings it up. It needs root, or on
// Linux the capability CAP_NET_ADMIN. When it fails, no device is left behind.
func Open(c Config) (*Device, error) { return OpenBy(attach, c) }

// An Attacher makes the interface that a checked Config describes, or takes over the
// persistent one of that name. It returns the program's end of the interface, and the
// interface's name. It does not configure the interface.
type Attacher func(c Config) (end link.Link, name string, err error)

// OpenBy is Open with another Attacher. The one that Open uses makes an end that carries
// one packet per system call. Step 8 has two others: one carries bursts, and one leaves
// reading to another process.
func OpenBy(a Attacher, c Config) (*Device, error) {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return open(a, c)
}
