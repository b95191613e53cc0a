package tun

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// A device that is made in another way is refused and configured as any other, its
// errors get the same words, and nothing is left behind.
func TestOpenBy(t *testing.T) {
	h := host(t)
	open := func(a Attacher, c Config) (dev *Device, err error) {
		h.Do(func() { dev, err = OpenBy(a, c) })
		return dev, err
	}
	_, err := open(func(Config) (link.Link, string, error) { return nil, "", unix.EBUSY }, vpn0)
	require.EqualError(t, err, "device name vpn0 is taken")
	_, err = open(nil, Config{Name: "vpn/0"})
	require.EqualError(t, err, `device name "vpn/0" is not allowed`)

	h.Write(t, "ipv6/conf/default/disable_ipv6", "1")
	_, err = open(attach, vpn0)
	require.EqualError(t, err, "device vpn0: adding the address fd00:8::1/64: permission denied")
	require.False(t, has(h, "vpn0"))

	h.Write(t, "ipv6/conf/default/disable_ipv6", "0")
	inner := link.Link(nil)
	dev, err := open(func(c Config) (link.Link, string, error) {
		require.Equal(t, DefaultMTU, c.MTU)
		end, name, err := attach(c)
		inner = end
		return end, name, err
	}, Config{Addrs: vpn0.Addrs})
	require.NoError(t, err)
	defer dev.Close()
	require.Equal(t, inner, dev.Link)
	require.Contains(t, h.Run(t, "ip", "address", "show", dev.Name()), "inet6 fd00:8::1/64 ")
	_, err = open(attach, Config{Name: dev.Name()})
	require.EqualError(t, err, "device name "+dev.Name()+" is taken")
}
