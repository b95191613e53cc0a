package fast

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
)

var vpn0 = tun.Config{Name: "vpn0", MTU: 1400,
	Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}}

// A device with offloads is configured and counted like any other, and returns the same
// errors. It leaves nothing behind.
func TestOpen(t *testing.T) {
	lab := netlab.New(t)
	h := lab.Alice
	open := func(c tun.Config, o TUNOptions) (dev *tun.Device, queues []link.Link, err error) {
		h.Do(func() { dev, queues, err = Open(c, o) })
		return dev, queues, err
	}
	var drops link.Drops
	c := vpn0
	c.Drops = &drops
	dev, queues, err := open(c, TUNOptions{})
	require.NoError(t, err)
	defer dev.Close()
	require.Len(t, queues, 1)
	require.Equal(t, "vpn0", dev.Name())
	require.Equal(t, 1400, dev.MTU())
	show := h.Run(t, "ip", "-details", "address", "show", "vpn0")
	require.Contains(t, show, "vnet_hdr on ")
	require.Contains(t, show, "mtu 1400 ")
	require.Contains(t, show, "inet6 fd00:8::1/64 ")
	require.NoError(t, dev.WriteBurst(burstOf([]byte("\x00ad"))))
	require.Equal(t, "malformed 1", drops.String())

	_, _, err = open(vpn0, TUNOptions{})
	require.EqualError(t, err, "device name vpn0 is taken")
	c.Name, c.Persist = "vpn1", true
	_, _, err = open(c, TUNOptions{})
	require.EqualError(t, err, "a device with offloads cannot be persistent")

	h.Write(t, "ipv6/conf/default/disable_ipv6", "1")
	c.Persist = false
	for _, n := range []int{1, 3} {
		_, _, err = open(c, TUNOptions{Queues: n})
		require.EqualError(t, err, "device vpn1: adding the address fd00:8::1/64: permission denied")
		_, err = h.Try("ip", "link", "show", "vpn1")
		require.Error(t, err, "with %d queues the device is still there", n)
	}
}

// With and without offloads, a device has as many queues as requested.
func TestQueuesOfAServer(t *testing.T) {
	lab := netlab.New(t)
	for _, offloads := range []bool{true, false} {
		for _, n := range []int{1, 3} {
			var dev *tun.Device
			var queues []link.Link
			var err error
			lab.Alice.Do(func() { dev, queues, err = Queues(vpn0, n, offloads) })
			require.NoError(t, err)
			require.Len(t, queues, n)
			show := lab.Alice.Run(t, "ip", "-details", "link", "show", dev.Name())
			if n == 1 && !offloads {
				require.Contains(t, show, "vnet_hdr off ")
			} else {
				require.Contains(t, show, "vnet_hdr on ")
			}
			for _, q := range queues {
				require.NoError(t, q.Close())
			}
		}
	}
}

// A UDP socket becomes a fast end, with its address and MTU. A TCP socket stays as it is.
func TestCarry(t *testing.T) {
	var drops link.Drops
	o := transport.Options{Drops: &drops}
	server, err := transport.Listen(transport.UDP, "127.0.0.1:0", o)
	require.NoError(t, err)
	client, err := transport.Dial(transport.UDP, server.Addr().String(), o)
	require.NoError(t, err)
	for _, plain := range []transport.Conn{server, client} {
		conn, err := Carry(plain, UDPOptions{Drops: &drops})
		require.NoError(t, err)
		require.IsType(t, &carried{}, conn)
		require.Equal(t, server.Addr(), conn.Addr())
		require.Equal(t, plain.MTU(), conn.MTU())
		require.NoError(t, conn.Close())
		require.ErrorIs(t, plain.ReadBurst(link.NewBurst()), net.ErrClosed)
		_, err = Carry(plain, UDPOptions{Drops: &drops})
		require.ErrorIs(t, err, net.ErrClosed)
	}
	tcp, err := transport.Listen(transport.TCP, "127.0.0.1:0", o)
	require.NoError(t, err)
	defer tcp.Close()
	conn, err := Carry(tcp, UDPOptions{Drops: &drops})
	require.NoError(t, err)
	require.Same(t, tcp, conn)
}
