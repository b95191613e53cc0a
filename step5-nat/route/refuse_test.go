package route

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/policy"
)

// Each of these must be refused with one line, before anything changes.
func TestRefusals(t *testing.T) {
	lab := netlab.New(t)
	alice := func(args ...string) { lab.Alice.Run(t, args[0], args[1:]...) }
	for _, c := range []struct {
		name, says string
		given      func(*Config) (restore func())
	}{
		{"no default route", "no route to the server 203.0.113.10: this host has no default IPv4 route", func(*Config) func() {
			alice("ip", "route", "del", "default")
			return func() { alice("ip", "route", "add", "default", "via", "198.51.100.1") }
		}},
		{"no default route for IPv6", "no route to the server 2001:db8:5::10: this host has no default IPv6 route", func(c *Config) func() {
			c.Server = netip.AddrPortFrom(lab.Server.V6, 5555)
			alice("ip", "-6", "route", "del", "default")
			return func() { alice("ip", "-6", "route", "add", "default", "via", "2001:db8:cafe::1") }
		}},
		{"unknown device", `tunnel device "vpn7"`, func(c *Config) func() {
			c.Device = "vpn7"
			return nil
		}},
		{"the LAN's subnet", "10.8.0.0/24 overlaps 10.8.0.77/16 of eth0", func(*Config) func() {
			alice("ip", "addr", "add", "10.8.0.77/16", "dev", "eth0")
			return func() { alice("ip", "addr", "del", "10.8.0.77/16", "dev", "eth0") }
		}},
		{"the LAN's IPv6 subnet", "fd00:8::/64 overlaps fd00:8::77/128 of eth0", func(*Config) func() {
			alice("ip", "addr", "add", "fd00:8::77/128", "dev", "eth0")
			netlab.Eventually(t, limit, "the address is there", func() bool { return way(lab.Alice, "fd00:8::77") == "lo" })
			return func() { alice("ip", "addr", "del", "fd00:8::77/128", "dev", "eth0") }
		}},
		{"its own subnets", "10.8.0.0/16 and 10.8.0.2/24 overlap", func(c *Config) func() {
			c.Addrs = prefixes("10.8.0.0/16,10.8.0.2/24")
			return nil
		}},
		{"a server inside the tunnel", "leads into the tunnel vpn0 itself", func(c *Config) func() {
			c.Server = netip.MustParseAddrPort("10.8.0.1:5555")
			return nil
		}},
		{"no address", "the tunnel has no address", func(c *Config) func() {
			c.Addrs = nil
			return nil
		}},
		{"no server", "not the address of a server", func(c *Config) func() {
			c.Server = netip.AddrPort{}
			return nil
		}},
		{"unknown transport", `network "sctp"`, func(c *Config) func() {
			c.Network = "sctp"
			return nil
		}},
		{"our priority is taken", "another program has an IPv4 rule that clashes with ours, at priority 22504", func(*Config) func() {
			alice("ip", "rule", "add", "priority", "22504", "lookup", "7")
			return func() { alice("ip", "rule", "del", "priority", "22504") }
		}},
		{"our mark is taken", "IPv6 rule that clashes with ours, at priority 99", func(*Config) func() {
			alice("ip", "-6", "rule", "add", "priority", "99", "fwmark", "22505", "lookup", "7")
			return func() { alice("ip", "-6", "rule", "del", "priority", "99") }
		}},
		{"our table is asked by others", "IPv4 rule that clashes with ours, at priority 98", func(*Config) func() {
			alice("ip", "rule", "add", "priority", "98", "lookup", "22505")
			return func() { alice("ip", "rule", "del", "priority", "98") }
		}},
		{"our table is used by others", "routing table 22505 is in use by another program", func(*Config) func() {
			alice("ip", "route", "add", "192.0.2.128/25", "via", "198.51.100.1", "table", "22505")
			return func() { alice("ip", "route", "flush", "table", "22505") }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := tunnelOn(t, lab.Alice, both)
			defer dev.Close()
			cfg := config(both)
			if restore := c.given(&cfg); restore != nil {
				defer restore()
			}
			err := refused(t, lab.Alice, cfg)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "\n")
		})
	}

	// With all that restored, nothing is refused.
	tunnelOn(t, lab.Alice, both)
	defaultOn(t, lab.Alice, config(both))()
}

// The first client goes on undisturbed.
func TestASecondClientIsRefused(t *testing.T) {
	lab := netlab.New(t)
	first := startChild(t, lab.Alice, both)
	first.WaitLog(t, allDone)

	tunnelOn(t, lab.Alice, "10.9.0.2/24")
	c := config("10.9.0.2/24")
	require.ErrorContains(t, refused(t, lab.Alice, c), "another client runs on this host: it sends everything into vpn9")
	require.Equal(t, "vpn9", way(lab.Alice, "203.0.113.80"))

	first.Interrupt()
	require.Zero(t, first.Wait(t))
	defaultOn(t, lab.Alice, c)()
}

// If a command fails half-way, those before it are undone.
func TestHalfWay(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, both)
	before := snapshot(t, lab.Alice)
	errTest := errors.New("the test says no")
	lab.Alice.Do(func() {
		c := config(both)
		list := c.changes()
		for n := range list {
			broken := slices.Clone(list)
			broken[n].Do = func() error { return errTest }
			_, err := policy.CarryOut(broken, slog.Info)
			require.ErrorIs(t, err, errTest)
			require.ErrorContains(t, err, list[n].Command)
		}
	})
	same(t, before, lab.Alice)
}

// Without the capability nothing can be changed.
func TestNotRoot(t *testing.T) {
	lab := netlab.New(t)
	p := lab.Alice.Start(t, "setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw", "env", childVar+"="+unprivileged, os.Args[0])
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "no permission to change this host's network")
	require.Contains(t, p.Log(), "marking the socket to the server: operation not permitted")
}
