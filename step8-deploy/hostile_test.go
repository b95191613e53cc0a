package step8_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// past returns which of the flows, tied to eth0 or not, were seen in the cafe.
func (w *world) past(t *testing.T, to ...string) (seen []string) {
	t.Helper()
	mac := strings.Fields(w.Cafe.Run(t, "ip", "-br", "link", "show", "br0"))[2]
	for _, a := range to {
		host := a[:strings.LastIndex(a, ":")]
		w.Alice.Run(t, "ip", "neigh", "replace", strings.Trim(host, "[]"), "lladdr", mac, "dev", "eth0", "nud", "permanent")
	}
	capture := w.Cafe.Capture(t, "br0", "udp and ether src "+w.mac(t))
	w.Alice.Do(func() {
		for _, a := range to {
			send(t, flow{to: a}, "eth0", 42001)
			send(t, flow{to: a}, "", 42002)
		}
	})
	lines := strings.Join(capture.Stop(), "\n")
	for _, a := range to {
		at := strings.NewReplacer("[", "", "]", "").Replace(a[:strings.LastIndex(a, ":")]) + "." + a[strings.LastIndex(a, ":")+1:] + ":"
		for port, how := range map[int]string{42001: " tied", 42002: ""} {
			if strings.Contains(lines, fmt.Sprintf(".%d > %s", port, at)) {
				seen = append(seen, a+how)
			}
		}
	}
	return seen
}

// A client that is restarted remembers which networks are the tunnel's own before a server
// tells it. A local network that claims them gets no packets.
func TestTheTunnelsNetworksAreRemembered(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.Alice.Run(t, "bash", "-ec", "ip addr add 10.8.0.77/16 dev eth0; ip addr add fd00:8::77/48 dev eth0 nodad")
	require.Len(t, w.past(t, "10.8.0.1:9", "[fd00:8::1]:9"), 4, "the detector")
	server := w.server(t)
	client := w.client(t)
	require.Empty(t, w.past(t, "10.8.0.1:9", "[fd00:8::1]:9"))
	server.Kill()
	client.Kill()
	client.Wait(t)
	require.Empty(t, w.past(t, "10.8.0.1:9", "[fd00:8::1]:9"))
	w.start(t).WaitLog(t, "does not count as local")
	require.Empty(t, w.past(t, "10.8.0.1:9", "[fd00:8::1]:9"))
}

// Refused networks are refused also inside a local network, and a network that only begins
// like the link-local one is not link-local.
func TestRefusedInsideALocalNetwork(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	w.neighbours(t)
	w.Alice.Run(t, "bash", "-ec", `
		ip link add box0 type veth peer name box1; ip addr add 172.17.0.1/16 dev box0; ip link set box0 up; ip link set box1 up
		for n in 172.17.0.5/32 192.168.44.128/25; do ip route add $n via 198.51.100.1 dev eth0 proto dhcp; done
		ip route add 169.254.0.0/15 dev eth0 proto dhcp`)
	to := []string{"172.17.0.5:9", "192.168.44.200:9", "169.255.1.1:9"}
	require.Len(t, w.past(t, to...), 2*len(to), "the detector")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	assert.Empty(t, w.past(t, to...))
}

// Neither the networks that a server has pushed nor those in the operator's list are local,
// whatever the cafe's network says.
func TestRoutesBeatLocal(t *testing.T) {
	to := []string{"10.20.5.5:9", "[fd20::5]:9", "203.0.113.80:9"}
	list := []string{"10.20.0.0/16", "fd20::/48", "203.0.113.64/27"}
	for _, c := range []struct {
		name, lan string
		routes    any
		kill      bool
	}{{"pushed", "private", "pushed", true}, {"listed as routed", "as routed", list, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.neighbours(t)
			w.add(t, "alice", "routes", c.routes, "kill_switch", c.kill)
			w.lan(t, c.lan)
			w.server(t, "routes", list)
			w.Alice.Run(t, "bash", "-ec", "for n in 10.20.5.0/24 203.0.113.80/32; do ip route add $n dev eth0 proto dhcp; done; ip route add fd20::/64 dev eth0 proto ra")
			require.Len(t, w.past(t, to...), 2*len(to), "the detector")
			client := w.client(t)
			netlab.Eventually(t, limit, "the tunnel works", func() bool {
				_, err := w.Alice.Try("ping", "-c1", "-W1", "10.8.0.1")
				return err == nil
			})
			for _, seen := range w.past(t, to...) {
				assert.False(t, c.kill || !strings.HasSuffix(seen, " tied"), "%s\n%s", seen, client.Log())
			}
		})
	}
}

// A container's packets take the same way as all others, also those that look like DHCP, and
// those that are neither TCP nor UDP.
func TestContainer(t *testing.T) {
	for _, kill := range []bool{true, false} {
		t.Run(fmt.Sprintf("kill_switch=%v", kill), func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice", "kill_switch", kill)
			w.server(t)
			w.Alice.Run(t, "bash", "-ec", `
				ip netns add box; ip link add box0 type veth peer name eth0 netns box
				ip addr add 172.17.0.1/16 dev box0; ip link set box0 up
				ip -n box addr add 172.17.0.2/16 dev eth0; ip -n box link set eth0 up; ip -n box route add default via 172.17.0.1
				echo 1 >/proc/sys/net/ipv4/ip_forward
				iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o box0 -j MASQUERADE
				for n in 0.0.0.0/1 128.0.0.0/1; do ip route add $n via 198.51.100.1 dev eth0 proto dhcp; done`)
			t.Cleanup(func() { w.Alice.Run(t, "ip", "netns", "del", "box") })
			use := func() []string {
				seen := w.Cafe.Capture(t, "br0", "dst host 203.0.113.80 and ether src "+w.mac(t))
				w.Alice.Try("ip", "netns", "exec", "box", "socat", "-u", "EXEC:echo hello", "UDP4-SENDTO:203.0.113.80:67,bind=:68")
				w.Alice.Try("ip", "netns", "exec", "box", "socat", "-u", "EXEC:echo hello", fmt.Sprintf("IP4-SENDTO:203.0.113.80:%d", unix.IPPROTO_ESP))
				w.Alice.Try("ip", "netns", "exec", "box", "ping", "-c1", "-W1", "203.0.113.80")
				return seen.Stop()
			}
			require.Len(t, use(), 3, "the detector")
			w.client(t)
			w.seenAs(t, w.Server.V4.String())
			assert.Empty(t, use())
		})
	}
}

// LLMNR queries do not leave, with or without a kill switch.
func TestNoLLMNRWithoutKillSwitch(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "kill_switch", false)
	w.server(t)
	w.neighbours(t)
	require.Len(t, w.past(t, "192.168.44.11:5355", "[fd44::11]:5355"), 4, "the detector")
	w.client(t)
	assert.Empty(t, w.past(t, "192.168.44.11:5355", "[fd44::11]:5355"))
}
