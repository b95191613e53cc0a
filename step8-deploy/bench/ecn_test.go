package bench

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A router on the way marks packets because it is congested (ECN, RFC 3168). The mark reaches
// the receiver of the packets in the tunnel, if their sender supports marks; otherwise the
// packets are dropped (RFC 6040).
func TestRouterMarksPackets(t *testing.T) {
	lab := netlab.New(t)
	u := connect(t, lab, nil, nil)
	inside := lab.Server.Capture(t, "vpn0", "")
	outside := lab.Server.Capture(t, "eth0", "udp port 5555")
	ping := func(tos string) error {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "2", "-Q", tos, server4)
		return err
	}
	require.NoError(t, ping("2"), "ECT(0)")
	mark := []string{"-t", "mangle", "-A", "FORWARD", "-p", "udp", "--dport", "5555", "-j", "TOS", "--set-tos", "0x03/0x03"}
	lab.Cafe.Run(t, "iptables", mark...)
	require.NoError(t, ping("2"), "ECT(0), and marked")
	require.Error(t, ping("0"), "dropped: ping has not said that it knows marks")
	mark[2] = "-D"
	lab.Cafe.Run(t, "iptables", mark...)
	require.NoError(t, ping("0"))
	inside.Stop()
	outside.Stop()

	count := func(lines []string, text string) (n int) {
		for _, l := range lines {
			if strings.Contains(l, text) {
				n++
			}
		}
		return n
	}
	requests := inside.Read("-v", "icmp[0] == 8")
	require.Equal(t, 1, count(requests, "tos 0x2,ECT(0)"), requests)
	require.Equal(t, 1, count(requests, "tos 0x3,CE"), requests)
	require.Equal(t, 1, count(requests, "tos 0x0"), requests)
	came := outside.Read("-v", "dst port 5555")
	require.Equal(t, 1, count(came, "tos 0x2,ECT(0)"), came)
	require.Positive(t, count(came, "tos 0x3,CE"), came)
	u.client.Interrupt()
	u.client.Wait(t)
	u.server.Interrupt()
	u.server.Wait(t)
	require.Contains(t, u.server.Log(), "congested 1")
}
