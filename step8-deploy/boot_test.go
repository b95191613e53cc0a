package step8_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// dhcp makes the cafe give alice her address, as the lab does, with more options.
func (w *world) dhcp(t *testing.T, options ...string) *netlab.Process {
	t.Helper()
	p := w.Cafe.Start(t, "dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--user=root", "--port=0",
		"--interface=br0", "--bind-interfaces", "--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases"), "--no-ping", "--log-dhcp",
		"--dhcp-range=198.51.100.100,198.51.100.120,2m", fmt.Sprintf("--dhcp-host=%s,%v", w.mac(t), w.Alice.V4),
		fmt.Sprintf("--dhcp-option=3,%v", w.Cafe.V4)}, options...)...)
	p.WaitLog(t, "DHCP, IP range")
	return p
}

// network makes the machine's own systemd-networkd set up eth0 at boot: IPv4 by DHCP, IPv6
// with fixed addresses.
func (b *box) network() {
	b.t.Helper()
	b.write("etc/systemd/network/eth0.network", fmt.Sprintf(`[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
Address=%v/64
Gateway=%v
[DHCPv4]
UseDNS=no
`, b.w.Alice.V6, b.w.Cafe.V6))
	units := b.path("etc/systemd/system/multi-user.target.wants")
	require.NoError(b.t, os.MkdirAll(units, 0o755))
	require.NoError(b.t, os.Symlink("/usr/lib/systemd/system/systemd-networkd.service", filepath.Join(units, "systemd-networkd.service")))
}

// blank removes what the kernel knows of alice's network, as if her machine were switched on.
// In the lab, that outlives her systemd.
func (w *world) blank(t *testing.T) {
	t.Helper()
	w.Alice.Run(t, "bash", "-ec", `ip link set eth0 down; ip addr flush dev eth0; nft flush ruleset
		[ -z "$(nft list tables)" ]
		for f in -4 -6; do
			ip $f rule flush
			ip $f rule add priority 32766 lookup main
		done
		ip -4 rule add priority 32767 lookup default`)
}

// From the moment that the network is there until it is gone, nothing leaves a machine except
// through the tunnel. That holds however the machine was switched off, and whether or not the
// client can be started.
func TestBoot(t *testing.T) {
	w := newWorld(t)
	w.Cafe.ServeDNS(t)
	b := w.box(t)
	server := w.server(t)
	lease := w.dhcp(t)
	b.network()
	w.blank(t)
	b.boot()
	netlab.Eventually(t, limit, "alice is online, by DHCP", func() bool { return w.whoami(w.Web.V4) == w.Alice.V4.String() })
	eyes := w.watch(t, "before there is a VPN", true)
	eyes.more(20)
	b.run("systemctl", "enable", "--now", "stepvpn-client")
	eyes.phase("connected", false)
	w.seenAs(t, w.Server.V4.String())

	eyes.phase("the machine is shut down", false)
	must(t, "off", "alice")
	eyes.more(10)
	w.blank(t)
	eyes.phase("it is switched on", false)
	b.boot()
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, w.Server.V6.String(), w.whoami(w.Web.V6))

	eyes.phase("its plug is pulled", false)
	must(t, "kill", "alice")
	w.blank(t)
	eyes.phase("it is switched on, and there is a typo in the settings", false)
	mend := rewrite(t, b.settings(), func(text string) string { return text + "\nnonsense = [\n" })
	b.boot()
	netlab.Eventually(t, limit, "alice has an address, by DHCP", func() bool {
		return strings.Contains(w.Alice.Run(t, "ip", "-4", "addr", "show", "dev", "eth0"), w.Alice.V4.String()+"/")
	})
	eyes.more(40)
	require.Empty(t, w.whoami(w.Web.V4))

	eyes.phase("its plug is pulled", false)
	must(t, "kill", "alice")
	w.blank(t)
	eyes.phase("it is switched on, and the settings are gone", false)
	mend()
	require.NoError(t, os.Rename(b.settings(), b.settings()+".away"))
	b.boot()
	netlab.Eventually(t, limit, "alice has an address, by DHCP", func() bool {
		return strings.Contains(w.Alice.Run(t, "ip", "-4", "addr", "show", "dev", "eth0"), w.Alice.V4.String()+"/")
	})
	eyes.more(40)
	require.NoError(t, os.Rename(b.settings()+".away", b.settings()))
	b.run("systemctl", "start", "stepvpn-client")
	w.seenAs(t, w.Server.V4.String())

	// This network draws traffic out of tunnels from the first moment on, and there is no
	// server. DHCP renews its leases.
	eyes.phase("it is rebooted, in a hostile network without a server", false)
	must(t, "off", "alice")
	w.blank(t)
	server.Kill()
	server.Wait(t)
	lease.Kill()
	lease.Wait(t)
	lease = w.dhcp(t, fmt.Sprintf("--dhcp-option=121,0.0.0.0/1,%[1]v,128.0.0.0/1,%[1]v,203.0.113.80/32,%[1]v,0.0.0.0/0,%[1]v", w.Cafe.V4))
	b.boot()
	netlab.Eventually(t, limit, "alice has the hostile routes", func() bool {
		return strings.Contains(w.Alice.Run(t, "ip", "-4", "route", "show", "dev", "eth0"), "128.0.0.0/1 via")
	})
	eyes.more(40)
	acks := strings.Count(lease.Log(), "DHCPACK")
	b.run("networkctl", "renew", "eth0")
	netlab.Eventually(t, limit, "the lease is renewed", func() bool { return strings.Count(lease.Log(), "DHCPACK") > acks })
	eyes.more(20)
	eyes.verdict()

	t.Run("pause", func(t *testing.T) { b.pauses(t) })
	t.Run("the switch can't be closed at first", func(t *testing.T) { b.closesLater(t) })
}

// closesLater checks that if the switch's unit fails at boot, the switch is closed
// nevertheless: systemd tries the unit again, and the client closes the switch, too.
func (b *box) closesLater(t *testing.T) {
	w := b.w
	b.dropIn("stepvpn-killswitch.service", "fails", "[Service]\nExecStartPre=/bin/sh -c 'test -e /var/lib/stepvpn/failed || { touch /var/lib/stepvpn/failed; exit 1; }'\n")
	must(t, "off", "alice")
	w.blank(t)
	w.serve(t, w.Server)
	b.boot()
	require.Contains(t, b.run("journalctl", "-b", "-o", "cat", "-u", "stepvpn-killswitch"), "Scheduled restart job", "it has failed once")
	w.seenAs(t, w.Server.V4.String())
	netlab.Eventually(t, limit, "the unit is active", func() bool {
		out, _ := b.try("systemctl", "is-active", "stepvpn-killswitch")
		return out == "active"
	})
	b.kill()
	for range 5 {
		require.NotEqual(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
	}
	w.seenAs(t, w.Server.V4.String())

	// A service that can't be started puts back what is flushed, too: within a second, as it is
	// tried again.
	past := func() bool {
		_, err := w.Alice.Try("curl", "-sS", "--max-time", "3", "--interface", "eth0", "http://"+w.Web.V4.String()+"/whoami")
		return err == nil
	}
	mend := rewrite(t, b.settings(), func(text string) string { return text + "\nnonsense = [\n" })
	b.try("systemctl", "restart", "stepvpn-client")
	require.False(t, past())
	w.Alice.Run(t, "nft", "flush", "ruleset")
	netlab.Eventually(t, limit, "the switch's table is back", func() bool {
		return strings.Contains(w.Alice.Run(t, "nft", "list", "tables"), "inet stepvpn_killswitch")
	})
	require.False(t, past(), "it is closed for programs that tie themselves to an interface")
	mend()
	w.seenAs(t, w.Server.V4.String())
	b.run("systemctl", "stop", "stepvpn-client")
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4), "a stop has opened it when it returns")
	require.True(t, past(), "the detector sees it")
}

// pauses checks 'stepvpn pause' on a machine that has just booted and whose server is away, as
// in a network with a captive portal.
func (b *box) pauses(t *testing.T) {
	w := b.w
	in := func() bool { return w.whoami(w.Web.V4) == "" && w.whoami(w.Web.V6) == "" }
	name := func() string {
		out, _ := b.try("curl", "-4", "-sS", "--max-time", "5", "http://web.example/whoami")
		return strings.TrimSpace(out)
	}
	require.True(t, in(), "closed")
	// The kernel closes the switch again, whatever happens to the daemon.
	eyes := w.watch(t, "paused", true)
	mend := rewrite(t, b.settings(), func(text string) string { return text + "\nnonsense = [\n" })
	b.run("stepvpn", "pause", "4s")
	b.kill()
	w.seenAs(t, w.Alice.V4.String())
	eyes.more(20)
	netlab.Eventually(t, limit, "the pause is over", in)
	eyes.phase("after the pause, without a daemon", false)
	eyes.more(40)
	mend()

	// The pause ends when the tunnel is up. Then names are asked for in the tunnel.
	b.run("systemctl", "start", "stepvpn-client")
	eyes.phase("paused until there is a tunnel", true)
	netlab.Eventually(t, limit, "the client runs", func() bool { return b.status() != "" })
	b.run("stepvpn", "pause", "5m")
	netlab.Eventually(t, limit, "a page by its name, by the host's own resolver", func() bool { return name() == w.Alice.V4.String() })
	require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6))
	eyes.more(20)
	server := w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	eyes.phase("the tunnel is up", false)
	require.Equal(t, w.Server.V4.String(), name())
	eyes.more(20)

	// In a pause after a session, names are asked of the host's own resolver, too.
	if long(t, "between sessions") {
		eyes.phase("between sessions", false)
		b.lose(server)
		eyes.more(40)
		require.True(t, in())
		eyes.phase("paused between sessions", true)
		b.run("stepvpn", "pause", "5m")
		netlab.Eventually(t, limit, "a page by its name, by the host's own resolver", func() bool { return name() == w.Alice.V4.String() })
		eyes.more(20)
	}

	// A stop opens the switch; a start after that knows of no pause.
	eyes.phase("stopped", true)
	b.run("systemctl", "stop", "stepvpn-client")
	w.seenAs(t, w.Alice.V4.String())
	b.run("systemctl", "start", "stepvpn-client")
	eyes.phase("started again", false) // the switch is closed when the start has returned
	require.NotEqual(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
	eyes.more(40)
	eyes.verdict()
}
