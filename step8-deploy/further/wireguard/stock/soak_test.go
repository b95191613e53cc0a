package stock_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
	"stepvpn/step8-deploy/status"
)

// takesLong skips a test that takes long, except in 'make soak'.
func takesLong(t *testing.T) {
	t.Helper()
	if !soak.On() {
		t.Skip("it takes long; 'make soak' has it")
	}
}

// A stock client agrees on new keys with our server three times, and no ping is lost by that.
func TestRekeysOfStockClient(t *testing.T) {
	takesLong(t)
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	ping := v.Bob.Start(t, "ping", "-i", "0.2", "-W", "5", v.Web.V4.String())
	last, times := status.Peer{}, 0
	netlab.Eventually(t, 8*time.Minute, "new keys three times", func() bool {
		time.Sleep(time.Second)
		p, there := v.peer(t, "phone")
		if there && !p.Handshake.Equal(last.Handshake) {
			last = p
			times++
		}
		return times > 3 // the first were not new
	})
	ping.Interrupt()
	ping.Wait(t)
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(ping.Log())
	require.NotNil(t, m, ping.Log())
	require.Equal(t, m[1], m[2], "packets sent and answered")
	t.Log(bob.p.Log())
}

// Two devices with one key take turns, and the log, the status and the metrics say so.
func TestTwoStockClientsWithOneKey(t *testing.T) {
	takesLong(t)
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.set(t, settingsFile, "metrics", "127.0.0.1:9586")
	server := v.serve(t)
	for _, h := range []*netlab.Host{v.Alice, v.Bob} {
		v.stockClient(t, h, "wg0", file, nil)
		h.Start(t, "ping", "-i", "0.5", v.Web.V4.String())
	}
	netlab.Eventually(t, 3*time.Minute, "the log says so", func() bool {
		time.Sleep(time.Second)
		return strings.Contains(server.Log(), "two devices use the key of one client")
	})
	p, _ := v.peer(t, "phone")
	require.True(t, p.Shared)
	require.Contains(t, v.stepvpn(t, "status", "-socket", v.path(socketFile)), "two devices use the key of phone")
	require.Contains(t, v.Server.Run(t, "curl", "-sS", "http://127.0.0.1:9586/metrics"), fmt.Sprintf("stepvpn_peer_shared{peer=%q} 1\n", "phone"))
}

// Our client agrees on new keys with a stock server three times, and no ping is lost by that.
func TestRekeysWithStockServer(t *testing.T) {
	takesLong(t)
	w := newWorld(t)
	w.serve(t)
	w.client(t, w.write(t, "", w.everything()))
	w.seenAs(t, w.Server.V4)
	ping := w.Alice.Start(t, "ping", "-i", "0.2", "-W", "5", w.Web.V4.String())
	last, times := "", 0
	netlab.Eventually(t, 8*time.Minute, "new keys three times", func() bool {
		time.Sleep(time.Second)
		if now := w.stock.show(t, 4); now != last {
			last = now
			times++
		}
		return times > 3 // the first were not new
	})
	ping.Interrupt()
	ping.Wait(t)
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(ping.Log())
	require.NotNil(t, m, ping.Log())
	require.Equal(t, m[1], m[2], "packets sent and answered")
	require.Equal(t, "up", w.report(t).State)
}
