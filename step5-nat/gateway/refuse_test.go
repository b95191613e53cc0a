package gateway

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// Each of these must be refused with one line, and nothing changed.
func TestRefusals(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	server := func(command string) {
		args := strings.Fields(command)
		lab.Server.Run(t, args[0], args[1:]...)
	}
	for _, c := range []struct {
		name, says string
		given      func(*Config) (restore func())
	}{
		{"unknown device", `tunnel device: there is no interface "vpn7" on this host`, func(c *Config) func() {
			c.Device = "vpn7"
			return nil
		}},
		{"unknown egress", `egress: there is no interface "eth7" on this host`, func(c *Config) func() {
			c.Egress = "eth7"
			return nil
		}},
		{"a pattern for an egress", `interface name "eth+" ends in +`, func(c *Config) func() {
			c.Egress = "eth+"
			return nil
		}},
		{"the tunnel is its own egress", "egress vpn0 is the tunnel itself", func(c *Config) func() {
			c.Egress = "vpn0"
			return nil
		}},
		{"no default route", "this host has no default route", func(*Config) func() {
			server("ip -4 route del default")
			server("ip -6 route del default")
			return func() {
				server("ip -4 route add default via 203.0.113.1")
				server("ip -6 route add default via 2001:db8:5::1")
			}
		}},
		{"the default route is the tunnel", "this host has no default route", func(*Config) func() {
			server("ip -4 route replace default dev vpn0")
			server("ip -6 route del default")
			return func() {
				server("ip -4 route replace default via 203.0.113.1")
				server("ip -6 route add default via 2001:db8:5::1")
			}
		}},
		{"the LAN's subnet", "203.0.113.0/24 overlaps 203.0.113.10/28 of eth0", func(c *Config) func() {
			c.Addrs = prefixes("203.0.113.130/24")
			return nil
		}},
		{"its own subnets", "fd00:8::1/64 and fd00:8::2/64 overlap", func(c *Config) func() {
			c.Addrs = prefixes("fd00:8::1/64,fd00:8::2/64")
			return nil
		}},
		{"no address", "the tunnel has no address", func(c *Config) func() {
			c.Addrs = nil
			return nil
		}},
		{"a subnet that is not forwarded", "169.254.0.0/16 cannot be forwarded", func(c *Config) func() {
			c.Addrs = prefixes("169.254.1.1/16")
			return nil
		}},
		{"a state that others may write", "/run/stepvpn is not ours alone", func(*Config) func() {
			lab.Server.Run(t, "mkdir", "-p", "-m", "700", stateDir)
			lab.Server.Run(t, "chmod", "770", stateDir)
			return func() { lab.Server.Run(t, "chmod", "700", stateDir) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := tunnelOn(t, lab, "vpn0", both)
			defer dev.Close()
			cfg := Config{Device: "vpn0", Addrs: prefixes(both)}
			if restore := c.given(&cfg); restore != nil {
				defer restore()
			}
			before := snapshot(t, lab)
			refused(t, lab, cfg, c.says)
			same(t, before, lab)
		})
	}

	// With all that restored, nothing is refused.
	tunnelOn(t, lab, "vpn0", both)
	enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
}

// refused calls Enable on the server, and fails the test unless it returns an
// error of one line that contains says.
func refused(t *testing.T, lab *netlab.Lab, c Config, says string) {
	t.Helper()
	var err error
	lab.Server.Do(func() { _, err = Enable(c) })
	require.ErrorContains(t, err, says)
	require.NotContains(t, err.Error(), "\n")
}

// A state that is damaged or not ours is set aside, and none of what it says is done.
func TestStateSetAside(t *testing.T) {
	lab := netlab.New(t)
	dev := tunnelOn(t, lab, "vpn0", both)
	enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})() // iptables keeps its empty tables
	dev.Close()
	for name, text := range map[string]string{
		"empty":     "",
		"cut off":   `{"owners":`,
		"zeros":     strings.Repeat("\x00", 100),
		"hostile":   `{"changes":[{"key":"kernel/core_pattern","found":"1","set":"0"}]}`,
		"too large": strings.Repeat(" ", maxStateSize) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			before := snapshot(t, lab)
			tunnelOn(t, lab, "vpn0", both)
			var file string
			lab.Server.Do(func() {
				s, err := openState()
				require.NoError(t, err)
				file = s.file.path
				require.NoError(t, s.close())
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			})
			undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})
			lab.Server.Do(func() {
				aside, err := os.ReadFile(file + ".damaged")
				require.NoError(t, err)
				require.Equal(t, text, string(aside))
				require.NoError(t, os.Remove(file+".damaged"))
			})
			undo()
			lab.Server.Run(t, "ip", "link", "del", "vpn0")
			same(t, before, lab)
		})
	}
}

// with runs f while only these programs can be found.
func with(t *testing.T, programs []string, f func()) {
	t.Helper()
	dir, path := t.TempDir(), os.Getenv("PATH")
	for _, name := range programs {
		found, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(found, filepath.Join(dir, name)))
	}
	require.NoError(t, os.Setenv("PATH", dir))
	defer os.Setenv("PATH", path)
	f()
}

func TestMissingPrograms(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	tunnelOn(t, lab, "vpn0", both)
	before := snapshot(t, lab)
	c := Config{Device: "vpn0", Addrs: prefixes(both)}
	with(t, nil, func() { refused(t, lab, c, "the program iptables is not installed") })
	same(t, before, lab)
	with(t, []string{"iptables", "iptables-restore"}, func() { refused(t, lab, c, "the program ip6tables is not installed") })
	same(t, before, lab)

	// A tunnel without IPv6 does not need ip6tables.
	c.Addrs = prefixes(onlyIPv4)
	with(t, []string{"iptables", "iptables-restore"}, func() {
		undo := enable(t, lab, c)
		require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))
		undo()
	})
	same(t, before, lab)
}

// A chain that was made with nft, at a priority of its own, is not one that
// iptables can use. If it comes while the gateway runs, ours go nevertheless.
func TestATableThatIptablesCannotUse(t *testing.T) {
	use(t, "nft")
	lab := netlab.New(t)
	dockerHost(t, lab)
	tunnelOn(t, lab, "vpn0", both)
	c := Config{Device: "vpn0", Addrs: prefixes(both)}
	undo := enable(t, lab, c)
	lab.Server.Run(t, "nft", "add chain ip filter OUTPUT { type filter hook output priority 10; }")
	undo()
	before := snapshot(t, lab)
	require.NotContains(t, strings.Join(before, "\n"), "STEPVPN")
	refused(t, lab, c, "iptables cannot use its table filter")
	same(t, before, lab)
}

// If iptables fails half-way, what was done is undone.
func TestHalfWay(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	tunnelOn(t, lab, "vpn0", both)
	before := snapshot(t, lab)
	restore, err := exec.LookPath("iptables-restore")
	require.NoError(t, err)
	dir := t.TempDir()
	fake := "#!/bin/sh\nsed s/MASQUERADE/NO-SUCH-LUCK/ | " + restore + " \"$@\"\n" // nat is the last table
	require.NoError(t, os.WriteFile(filepath.Join(dir, "iptables-restore"), []byte(fake), 0o755))
	path := os.Getenv("PATH")
	t.Setenv("PATH", dir+":"+path)
	refused(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)}, "NO-SUCH-LUCK")
	t.Setenv("PATH", path)
	same(t, before, lab)
}

// A host without a way out for one family serves the other.
func TestAFamilyWithoutADefaultRouteIsNotForwarded(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	lab.Server.Run(t, "ip", "-6", "route", "del", "default")
	tunnelOn(t, lab, "vpn0", both)
	before := snapshot(t, lab)
	undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))
	require.Equal(t, "0", lab.Server.Read(t, "ipv6/conf/all/forwarding"))
	rules := lab.Server.Run(t, "ip6tables", "-S", "STEPVPN-vpn0")
	require.NotContains(t, rules, "ACCEPT")
	require.Contains(t, rules, "-i vpn0 -j DROP")
	undo()
	same(t, before, lab)

	// The interface may be named instead.
	undo = enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both), Egress: "eth0"})
	require.Equal(t, "1", lab.Server.Read(t, "ipv6/conf/all/forwarding"))
	undo()
	same(t, before, lab)
}

// If the tunnel has no subnet of an address family, no packets of that family are accepted
// from it.
func TestAFamilyThatTheTunnelLacksIsDropped(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab, "vpn0", onlyIPv4)
	defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(onlyIPv4)})()
	require.Equal(t, "-N STEPVPN-vpn0\n-A STEPVPN-vpn0 -j DROP\n", lab.Server.Run(t, "ip6tables", "-t", "raw", "-S", "STEPVPN-vpn0"))
	require.Contains(t, lab.Server.Run(t, "ip6tables", "-t", "raw", "-S", "PREROUTING"), "-A PREROUTING -i vpn0 -j STEPVPN-vpn0")
}

// Without the capability nothing can be changed.
func TestNotRoot(t *testing.T) {
	lab := netlab.New(t)
	p := lab.Server.Start(t, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "env", childVar+"="+unprivileged, os.Args[0])
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "no permission to change this host's network")
}
