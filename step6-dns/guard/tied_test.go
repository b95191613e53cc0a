package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// A tie makes a socket that leaves by one interface, past the policy rules.
type tie struct {
	name string
	make func(socket, index int) error
	to   string // an address; the cafe's resolver if empty
}

var ties = []tie{
	{"device", func(s, _ int) error { return unix.BindToDevice(s, "eth0") }, ""},
	{"unicast-if", func(s, index int) error {
		return unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_UNICAST_IF, int(bigEndian(index)))
	}, ""},
	{"broadcast", func(s, _ int) error { return unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) }, "198.51.100.255"},
	{"multicast", func(s, index int) error {
		return unix.SetsockoptIPMreqn(s, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
	}, "224.0.0.252"},
	// The tunnel's resolver itself, where the local network may answer in its name.
	{"resolver", func(s, _ int) error { return unix.BindToDevice(s, "eth0") }, "10.8.0.1"},
}

// bigEndian swaps the bytes of an interface's number.
func bigEndian(index int) uint32 {
	i := uint32(index)
	return i<<24 | i<<8&0xff0000 | i>>8&0xff00 | i>>24
}

// send sends a datagram to port 53 by such a socket, and returns what came of it.
func (k tie) send(t *testing.T, lab *netlab.Lab) (err error) {
	t.Helper()
	to := lab.Cafe.V4
	if k.to != "" {
		to = netip.MustParseAddr(k.to)
	}
	lab.Alice.Do(func() {
		itf, e := net.InterfaceByName("eth0")
		require.NoError(t, e)
		s, e := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, e)
		defer unix.Close(s)
		require.NoError(t, k.make(s, itf.Index))
		err = unix.Sendto(s, []byte("tied by "+k.name), 0, &unix.SockaddrInet4{Addr: to.As4(), Port: port})
	})
	return err
}

// Linux sends what the rules refuse on the link that a socket is tied to. None of
// these sockets needs root.
func TestTiedToAnInterface(t *testing.T) {
	lab := netlab.New(t)
	// The cafe plays the resolver on the local network.
	lab.Cafe.Run(t, "ip", "addr", "add", "10.8.0.1/32", "dev", "br0")
	tunnelOn(t, lab.Alice, addrs)
	all := func(want error) []string {
		capture := lab.Cafe.Capture(t, "br0", fmt.Sprintf("dst port %d", port))
		for _, k := range ties {
			require.ErrorIs(t, k.send(t, lab), want, k.name)
		}
		lab.Alice.Do(func() {
			tied := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
				control := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
				return errors.Join(control, err)
			}}
			_, err := tied.Dial("tcp", netip.AddrPortFrom(lab.Cafe.V4, port).String())
			require.ErrorIs(t, err, unix.ECONNREFUSED) // by the cafe, or by the firewall
		})
		return capture.Stop()
	}
	require.Len(t, all(nil), len(ties)+1, "the detector")
	block(t, lab.Alice, resolvers...)
	require.Empty(t, all(unix.EPERM))
}
