package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step2-tun/tun"
)

// A gateway is killed before each of its changes, and after the last one. The
// next one, with other flags, and its undo put all right.
func TestKilledAtAnyMoment(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	lab.Server.Write(t, "ipv4/conf/all/accept_redirects", "0")
	lab.Server.Write(t, "ipv6/conf/eth0/accept_ra", "1")
	before := snapshot(t, lab)
	stride := soak.Pick(t, 3, 1) // of the moments
	left := 0                    // how often something was left behind

	try := func(addrs string, change int) (complete bool) {
		t.Helper()
		p := startChild(t, lab, fmt.Sprintf("vpn9=%s@%d", addrs, change))
		netlab.Eventually(t, limit, "the child is dead or complete", func() bool {
			complete = strings.Contains(p.Log(), allDone)
			return complete || p.Ended()
		})
		p.Kill()
		require.Equal(t, 128+int(syscall.SIGKILL), p.Wait(t))
		if len(snapshot(t, lab)) != len(before) {
			left++
		}
		dev := tunnelOn(t, lab, "vpn0", onlyIPv4)
		undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(onlyIPv4)})
		require.Equal(t, "0", lab.Server.Read(t, "ipv6/conf/all/forwarding"), "this one has no use for it")
		undo()
		require.NoError(t, dev.Close())
		same(t, before, lab, "after a kill before change %d", change)
		return complete
	}

	// IPv6 takes more steps than IPv4, and the one comes after the other.
	for change := 1; !try(onlyIPv6, change); change += stride {
	}
	require.Greater(t, left, 15/stride, "the test has seen leftovers")
	for change := 19; !try(both, change); change += 7 * stride {
	}
}

// Two gateways share the host. The one that leaves last puts the host back, however the
// other one left.
func TestTwoGatewaysOnOneHost(t *testing.T) {
	const vpn8, vpn9 = "vpn8=10.8.8.1/24,fd00:88::1/64", "vpn9=10.8.9.1/24,fd00:89::1/64"
	leave := map[string]func(t *testing.T, p *netlab.Process){
		"leaves": func(t *testing.T, p *netlab.Process) {
			p.Interrupt()
			require.Zero(t, p.Wait(t))
		},
		"is killed": func(t *testing.T, p *netlab.Process) {
			p.Kill()
			p.Wait(t)
		},
	}
	for how, first := range leave {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			t.Run(fmt.Sprintf("number %d %s first", order[0]+1, how), func(t *testing.T) {
				lab := netlab.New(t)
				dockerHost(t, lab)
				before := snapshot(t, lab)
				var gateways [2]*netlab.Process
				for i, job := range []string{vpn8, vpn9} {
					gateways[i] = startChild(t, lab, job)
					gateways[i].WaitLog(t, allDone)
				}
				first(t, gateways[order[0]])
				require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"), "the other one needs it")
				require.Equal(t, "1", lab.Server.Read(t, "ipv6/conf/all/forwarding"))
				other := []string{"vpn8", "vpn9"}[order[1]]
				require.Contains(t, lab.Server.Run(t, "iptables", "-S", "FORWARD"), "STEPVPN-"+other)

				leave["leaves"](t, gateways[order[1]])
				require.Equal(t, "0", lab.Server.Read(t, "ipv4/ip_forward"))
				require.Equal(t, "0", lab.Server.Read(t, "ipv6/conf/all/forwarding"))

				// The chains of a killed one stay until the next start.
				dev := tunnelOn(t, lab, "vpn0", onlyIPv4)
				enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(onlyIPv4)})()
				require.NoError(t, dev.Close())
				same(t, before, lab)
			})
		}
	}
}

// Ctrl-C, in a program of its own.
func TestAProgramLeavesTheHostAsItWas(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	before := snapshot(t, lab)
	p := startChild(t, lab, "vpn9="+both)
	p.WaitLog(t, allDone)
	require.Greater(t, len(snapshot(t, lab)), len(before))
	p.Interrupt()
	require.Zero(t, p.Wait(t))
	same(t, before, lab)
}

// A client downloads something when the gateway is killed, and started anew. Data that comes
// meanwhile is for the client, not for this host, which would end the connection.
func TestConnectionsGoOnWhenAKilledGatewayIsStartedAnew(t *testing.T) {
	lab := netlab.New(t)
	join(t, lab, tun.DefaultMTU)
	c := Config{Device: "vpn0", Addrs: prefixes(both), Sysctls: map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"}}
	enable(t, lab, c) // and never undone by this one

	var listener net.Listener
	var web, alice net.Conn
	var err error
	lab.Web.Do(func() { listener, err = net.Listen("tcp", "203.0.113.80:8080") })
	require.NoError(t, err)
	defer listener.Close()
	lab.Alice.Do(func() { alice, err = net.DialTimeout("tcp", listener.Addr().String(), limit) })
	require.NoError(t, err)
	defer alice.Close()
	web, err = listener.Accept()
	require.NoError(t, err)
	defer web.Close()

	var sending sync.WaitGroup
	stop := make(chan struct{})
	sent := 0
	var broken error
	sending.Go(func() {
		for broken == nil {
			var n int
			n, broken = web.Write([]byte("x"))
			sent += n
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	})
	var undo func()
	for range 5 {
		undo = enable(t, lab, c)
	}
	close(stop)
	sending.Wait()
	require.NoError(t, broken)
	require.Greater(t, sent, 30, "there was data meanwhile")
	require.NoError(t, alice.SetReadDeadline(time.Now().Add(limit)))
	_, err = io.ReadFull(alice, make([]byte, sent))
	require.NoError(t, err)
	undo()
}
