package step3_test

import (
	"net"
	"net/netip"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// Anybody on the internet can send an ICMP message that claims to be about the client's
// packets. Whatever it says, the client counts it, at most, and goes on.
func TestNoICMPMessageEndsTheClient(t *testing.T) {
	lab := netlab.New(t)
	server(t, lab)
	for _, addr := range []netip.Addr{lab.Server.V4, lab.Server.V6} {
		to := netip.AddrPortFrom(addr, 5555)
		c := client(t, lab.Alice, to.String())
		up(t, lab.Alice)
		from := localAddr(t, lab.Alice, to)
		for _, m := range netlab.ICMPErrors(addr) {
			lab.Web.Forge(t, m, lab.Alice, from, to)
			lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", inner4) // and no packet is lost
			require.False(t, c.Ended(), "%v\n%s", m, c.Log())
		}
		c.Interrupt()
		require.Zero(t, c.Wait(t))
		require.Regexp(t, "dropped: .*unreachable", c.Log(), "the messages have reached the socket")
	}
}

// localAddr returns from where a host's program has connected its UDP socket.
func localAddr(t *testing.T, h *netlab.Host, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	list := h.Run(t, "ss", "-Hun", "dst", to.String())
	fields := regexp.MustCompile(`\s+`).Split(list, -1)
	for i, f := range fields {
		if f == to.String() {
			from, err := netip.ParseAddrPort(fields[i-1])
			require.NoError(t, err)
			return from
		}
	}
	require.FailNow(t, "no such socket", list)
	return netip.AddrPort{}
}

// Over TCP, a router that refuses makes an attempt to connect fail, and the next one
// comes. A connection that is there lives through it.
func TestRoutersThatRefuseEndNoTCPClient(t *testing.T) {
	lab := netlab.New(t)
	server(t, lab, "-transport", "tcp")
	lab.Internet.Write(t, "ipv4/icmp_ratemask", "0") // it says so each time
	refuse := func(do, how string) { lab.Internet.Run(t, "ip", "route", do, how, lab.Server.V4.String()+"/32") }
	refuse("add", "unreachable")
	c := client(t, lab.Alice, net.JoinHostPort(lab.Server.V4.String(), "5555"), "-transport", "tcp")
	c.WaitLog(t, "cannot connect, trying again")
	refuse("del", "unreachable")
	up(t, lab.Alice)
	for _, how := range []string{"unreachable", "prohibit"} {
		wire := lab.Cafe.Capture(t, "br0", "icmp and dst "+lab.Alice.V4.String())
		refuse("add", how)
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", inner4)
		require.Error(t, err)
		require.NotEmpty(t, wire.Stop(), "the router has said so")
		refuse("del", how)
		up(t, lab.Alice)
	}
	require.Len(t, regexp.MustCompile("INFO connected").FindAllString(c.Log(), -1), 1, c.Log())
}
