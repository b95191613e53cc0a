package step8_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// fix gives a client fixed addresses.
func (w *world) fix(t *testing.T, client, addrs string) {
	t.Helper()
	text, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	line := regexp.MustCompile("(?m)^" + client + " .*$")
	require.Regexp(t, line, string(text))
	require.NoError(t, os.WriteFile(w.path("clients"), line.ReplaceAll(text, []byte("$0 addr="+addrs)), 0o600))
}

// A host without IPv6 serves IPv4. A client's fixed IPv6 address does no harm, and is the
// client's again once the host has IPv6.
func TestServerWithoutIPv6(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.fix(t, "alice", "10.8.0.9,fd00:8::9")
	w.Server.Write(t, "ipv6/conf/all/disable_ipv6", "1")
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String())
	require.Empty(t, w.whoami(w.Web.V6), "nothing leaves outside of the tunnel")
	require.Equal(t, "[10.8.0.9]", fmt.Sprint(w.report(t, w.Server, "server.sock").Peers[0].Addresses))
	require.Equal(t, 1, strings.Count(server.Log(), "IPv6 is switched off on this host"), server.Log())
	client.Interrupt()
	client.Wait(t)
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())

	w.Server.Run(t, "bash", "-c", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 && ip addr replace "+w.Server.V6.String()+"/64 dev eth0 nodad && ip -6 route replace default via 2001:db8:5::1")
	w.serve(t, w.Server)
	w.client(t)
	netlab.Eventually(t, limit, "IPv6 works again", func() bool { return w.whoami(w.Web.V6) == w.Server.V6.String() })
	require.Equal(t, "[10.8.0.9 fd00:8::9]", fmt.Sprint(w.report(t, w.Server, "server.sock").Peers[0].Addresses))
}

// If /proc/sys is read-only, as in a container, settings that are needed must be set from
// outside, and the server does without settings that are only useful.
func TestServerWithReadOnlySettings(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.Server.Write(t, "ipv4/ip_forward", "1")
	w.Server.Write(t, "ipv6/conf/all/forwarding", "1")
	w.set(t, "server.toml", "status_socket", w.path("server.sock"))
	server := w.Server.Start(t, "unshare", "--mount", "bash", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && ! echo 1 >/proc/sys/net/ipv4/ip_forward && exec "+
		netlab.Program("stepvpn")+" server "+w.path("server.toml"))
	server.WaitLog(t, "server is up")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	netlab.Eventually(t, limit, "IPv6 works as well", func() bool { return w.whoami(w.Web.V6) == w.Server.V6.String() })
	require.Equal(t, 1, strings.Count(server.Log(), "can't be changed from here"), server.Log())
	require.Equal(t, "up", w.report(t, w.Server, "server.sock").State)
}

// A full disk does not keep a server from starting. Clients keep their addresses.
func TestServerWithAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	dir := w.path("small")
	require.NoError(t, os.Mkdir(dir, 0o700))
	w.Server.Run(t, "mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "small", dir)
	server := w.server(t, "state", dir)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	had := w.report(t, w.Server, "server.sock").Peers[0].Addresses
	server.Kill()
	server.Wait(t)
	_, err := w.Server.Try("bash", "-c", "cat /dev/zero >"+dir+"/fill")
	require.Error(t, err, "it is full")

	server = w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, had, w.report(t, w.Server, "server.sock").Peers[0].Addresses)
	require.Equal(t, 1, strings.Count(server.Log(), "the leases can't be saved"), server.Log())

	// Changes that the operator makes now are not in force, and the operator is told so. They
	// are in force once there is room.
	out, err := w.Server.Try(netlab.Program("stepvpn"), "clients", "revoke", "alice", "-registry", w.path("clients"))
	require.Error(t, err)
	require.Contains(t, out, "the server that runs does not act upon it")
	netlab.Eventually(t, limit, "the server says it", func() bool {
		return strings.Contains(w.report(t, w.Server, "server.sock").Reason, "the registry")
	})
	w.Server.Run(t, "rm", dir+"/fill")
	client.WaitLog(t, "revoked")
	netlab.Eventually(t, limit, "all is well", func() bool { return w.report(t, w.Server, "server.sock").State == "up" })
}

// A firewall that drops what no rule allows lets in what the server needs. What its owner
// refuses by a rule stays refused. In the end, everything is as before.
func TestServerBehindAFirewall(t *testing.T) {
	const tools = `for t in iptables ip6tables; do $t -A INPUT -i lo -j ACCEPT; $t -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		%s; done; ip6tables -I INPUT -p icmpv6 --icmpv6-type neighbour-solicitation -j ACCEPT; ip6tables -I INPUT -p icmpv6 --icmpv6-type neighbour-advertisement -j ACCEPT`
	for name, rest := range map[string]string{
		"policy":    "$t -P INPUT DROP; $t -P FORWARD DROP",
		"last rule": "$t -A INPUT -j REJECT",
		// "ufw default reject"
		"chain of its own": `$t -P INPUT DROP; $t -N ufw-not-local; $t -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN; $t -A ufw-not-local -j DROP; $t -A INPUT -j ufw-not-local
			for c in ufw-reject-input ufw-track-input; do $t -N $c; $t -A INPUT -j $c; done; $t -A ufw-reject-input -j REJECT`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			w.Server.Run(t, "bash", "-ec", fmt.Sprintf(tools, rest))
			w.Server.Run(t, "bash", "-ec", "for t in iptables ip6tables; do $t-save -t filter >"+w.path("firewall")+".$t; done")
			before := state(t, w.Server)
			server := w.server(t)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			byName := func() bool {
				_, err := w.Alice.Try("curl", "-sS", "--max-time", "5", "http://web.example/whoami")
				return err == nil
			}
			netlab.Eventually(t, limit, "names are found", byName)
			other := func() bool {
				_, err := w.Alice.Try("curl", "-sS", "--max-time", "1", "http://10.8.0.1:8022/")
				return err == nil
			}
			w.Server.Start(t, "python3", "-m", "http.server", "8022", "--directory", t.TempDir())
			netlab.Eventually(t, limit, "the detector sees the service", func() bool {
				_, err := w.Server.Try("curl", "-sS", "--max-time", "1", "http://127.0.0.1:8022/")
				return err == nil
			})
			require.False(t, other(), "nothing else is open")

			// The owner loads the firewall again, and refuses one client.
			w.Server.Run(t, "bash", "-ec", "for t in iptables ip6tables; do $t-restore "+w.path("firewall")+".$t; done")
			netlab.Eventually(t, limit, "names are found", byName)
			require.Equal(t, "up", w.report(t, w.Server, "server.sock").State)
			w.Server.Run(t, "iptables", "-I", "INPUT", "-i", "vpn0", "-s", "10.8.0.2", "-j", "DROP")
			w.Server.Run(t, "ip6tables", "-I", "INPUT", "-i", "vpn0", "-s", "fd00:8::2", "-j", "DROP")
			require.False(t, byName(), "packets that a rule refuses stay refused")
			w.Server.Run(t, "iptables", "-D", "INPUT", "1")
			w.Server.Run(t, "ip6tables", "-D", "INPUT", "1")

			client.Interrupt()
			client.Wait(t)
			server.Interrupt()
			require.Zero(t, server.Wait(t), server.Log())
			require.Equal(t, before, state(t, w.Server))
		})
	}
}

// The server changes no firewall of nft. 'status' says what to type, and that helps.
func TestServerBehindNft(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.Server.Run(t, "nft", `table inet fw { chain input { type filter hook input priority 0; policy drop; iif lo accept; ct state established,related accept; meta l4proto ipv6-icmp accept; }; }`)
	server := w.server(t)
	netlab.Eventually(t, limit, "it says so", func() bool { return w.report(t, w.Server, "server.sock").State == "degraded" })
	r := w.report(t, w.Server, "server.sock")
	require.Contains(t, r.Reason, "chain input of table inet fw")
	client := w.start(t)
	for command := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(r.Cure, "Allow it: "), "."), "; ") {
		w.Server.Run(t, "bash", "-c", command)
	}
	client.WaitLog(t, "tunnel is up")
	require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "--max-time", "20", "http://web.example/whoami"), w.Server.V4.String()[:4])
	netlab.Eventually(t, limit, "all is well", func() bool { return w.report(t, w.Server, "server.sock").State == "up" })
	require.NotContains(t, server.Log(), "table inet stepvpn")
}
