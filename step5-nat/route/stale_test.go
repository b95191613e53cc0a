package route

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
)

// A client is killed before each of its commands, and after the last one. The
// next client, with other flags, and its undo put all right.
func TestKilledAtAnyMoment(t *testing.T) {
	stride := soak.Pick(t, 3, 1) // of the moments
	for first, flags := range []struct{ killed, next string }{{both, onlyIPv4}, {onlyIPv4, both}, {onlyIPv6, onlyIPv4}} {
		t.Run(flags.killed+" then "+flags.next, func(t *testing.T) {
			lab := netlab.New(t)
			lab.Alice.Write(t, "ipv4/conf/all/rp_filter", "1") // for all the rules that there are
			before := snapshot(t, lab.Alice)
			left := 0 // how often something was left behind
			for n, complete := 1+first%stride, false; !complete; n += stride {
				p := startChild(t, lab.Alice, fmt.Sprintf("%s@%d", flags.killed, n))
				netlab.Eventually(t, limit, "the child is dead or complete", func() bool {
					complete = strings.Contains(p.Log(), allDone)
					return complete || p.Ended()
				})
				p.Kill()
				require.Equal(t, 128+int(syscall.SIGKILL), p.Wait(t))
				if len(snapshot(t, lab.Alice)) != len(before) {
					left++
				}

				dev := tunnelOn(t, lab.Alice, flags.next)
				undo := defaultOn(t, lab.Alice, config(flags.next))
				require.Equal(t, "vpn0", way(lab.Alice, "203.0.113.80"))
				undo()
				require.NoError(t, dev.Close())
				same(t, before, lab.Alice, "after a kill before command %d", n)
			}
			require.Greater(t, left, 2/stride, "the test has seen leftovers")
		})
	}
}

// After kill -9 the host's own way out is back, by itself.
func TestAfterAKillTheTunnelIsGone(t *testing.T) {
	lab := netlab.New(t)
	p := startChild(t, lab.Alice, both)
	p.WaitLog(t, allDone)
	require.Equal(t, "vpn9", way(lab.Alice, "203.0.113.80"))
	require.Equal(t, "vpn9", way(lab.Alice, "2001:db8:80::80"))
	p.Kill()
	p.Wait(t)
	require.Equal(t, "eth0", way(lab.Alice, "203.0.113.80"))
	require.Equal(t, "eth0", way(lab.Alice, "2001:db8:80::80"))
}

// Ctrl-C, in a program of its own.
func TestAProgramLeavesTheHostAsItWas(t *testing.T) {
	lab := netlab.New(t)
	before := snapshot(t, lab.Alice)
	p := startChild(t, lab.Alice, both)
	p.WaitLog(t, allDone)
	require.NotEqual(t, len(before), len(snapshot(t, lab.Alice)))
	p.Interrupt()
	require.Zero(t, p.Wait(t))
	same(t, before, lab.Alice)
}
