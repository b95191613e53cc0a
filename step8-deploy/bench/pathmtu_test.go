package bench

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// narrow limits packets between the cafe and the internet to 1,280 bytes, the minimum of IPv6.
// Silent routers do not tell the sender of longer packets.
func narrow(t *testing.T, lab *netlab.Lab, silent bool) {
	lab.Cafe.Run(t, "ip", "link", "set", "up0", "mtu", "1280")
	lab.Internet.Run(t, "ip", "link", "set", "cafe0", "mtu", "1280")
	if silent {
		for _, h := range []*netlab.Host{lab.Cafe, lab.Internet} {
			h.Run(t, "iptables", "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP")
		}
	}
}

// fits reports whether a ping with full packets is answered, once its sender has had time to
// learn the path's size.
func fits(lab *netlab.Lab) bool {
	_, err := lab.Alice.Try("ping", "-c", "20", "-i", "0.1", "-W", "1", "-s", "1372", "-M", "dont", "-w", "4", server4)
	return err == nil
}

// Packets get through a path with a smaller MTU than the tunnel assumes, even if no router
// says so.
func TestPathOf1280Bytes(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			if silent && v6 {
				continue // over IPv6, nothing else can tell it
			}
			t.Run(fmt.Sprintf("silent=%v,IPv6=%v", silent, v6), func(t *testing.T) {
				lab := netlab.New(t)
				narrow(t, lab, silent)
				addr := lab.Server.V4
				if v6 {
					addr = lab.Server.V6
				}
				connectTo(t, lab, addr, nil, nil)
				require.True(t, fits(lab))
				lab.Server.Start(t, "iperf3", "-s", "--forceflush").WaitLog(t, "Server listening")
				for _, direction := range []string{"", "-R"} {
					netlab.Eventually(t, limit, "3 MB pass "+direction, func() bool {
						args := []string{"-c", server4, "-n", "3M"}
						if direction != "" {
							args = append(args, direction)
						}
						_, err := lab.Alice.Try("iperf3", args...)
						return err == nil
					})
				}
			})
		}
	}
}

// The test can detect the fault: a socket that forbids routers to fragment its packets, as
// Linux does by default, sends into a black hole.
func TestSilentPathStopsSimpleEnds(t *testing.T) {
	lab := netlab.New(t)
	narrow(t, lab, true)
	connectTo(t, lab, lab.Server.V4, []string{"-simple"}, []string{"-simple"})
	require.False(t, fits(lab))
}
