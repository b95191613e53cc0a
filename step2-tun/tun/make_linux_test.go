package tun

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/fast"
	"stepvpn/shared/link"
)

// makeFast makes a device with the fast ends of package fast.
func makeFast(name string, passing func(error) bool) (link.Link, string, error) {
	queues, name, err := fast.OpenTUN(name, fast.TUNOptions{Passing: passing, Drops: new(link.Drops)})
	if err != nil {
		return nil, "", err
	}
	return queues[0], name, nil
}

// A device that is made in another way is configured and counted as any other.
func TestMake(t *testing.T) {
	h := host(t)
	var drops link.Drops
	c := vpn0
	c.Make, c.Drops = makeFast, &drops
	dev := openOn(t, h, c)
	require.Equal(t, "vpn0", dev.Name())
	show := h.Run(t, "ip", "-details", "address", "show", "vpn0")
	require.Contains(t, show, "vnet_hdr on ")
	require.Contains(t, show, "mtu 1400 ")
	require.Contains(t, show, "inet6 fd00:8::1/64 ")

	b := link.NewBurst()
	copy(b.Alloc(3), "\x00ad")
	require.NoError(t, dev.WriteBurst(b))
	require.Equal(t, "malformed 1", drops.String())

	_, err := tryOpen(h, c)
	require.EqualError(t, err, "device name vpn0 is taken")
}

// Its errors get the same words, and nothing is left behind.
func TestMakeFails(t *testing.T) {
	h := host(t)
	c := vpn0
	c.Make = func(string, func(error) bool) (link.Link, string, error) { return nil, "", unix.EBUSY }
	_, err := tryOpen(h, c)
	require.EqualError(t, err, "device name vpn0 is taken")

	c.Make, c.Persist = makeFast, true
	_, err = tryOpen(h, c)
	require.EqualError(t, err, "a device that is made in another way cannot be persistent")

	h.Write(t, "ipv6/conf/default/disable_ipv6", "1")
	c.Persist = false
	_, err = tryOpen(h, c)
	require.EqualError(t, err, "device vpn0: adding the address fd00:8::1/64: permission denied")
	require.False(t, has(h, "vpn0"))
}
