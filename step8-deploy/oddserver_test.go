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

// A host without IPv6 serves IPv4. What is fixed for a client in IPv6 is in nobody's way,
// and is the client's again once the host has IPv6.
func TestServerWithoutIPv6(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.fix(t, "alice", "10.8.0.9,fd00:8::9")
	w.Server.Write(t, "ipv6/conf/all/disable_ipv6", "1")
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	require.Contains(t, w.Alice.Run(t, "curl", "-sS", "http://web.example/whoami"), w.Server.V4.String())
	require.Empty(t, w.whoami(w.Web.V6), "nothing leaves beside the tunnel")
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

// Where /proc/sys is read-only, as in a container, what is needed is set from outside; a
// setting that is only of use is done without.
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
	netlab.Eventually(t, limit, "IPv6 works, too", func() bool { return w.whoami(w.Web.V6) == w.Server.V6.String() })
	require.Equal(t, 1, strings.Count(server.Log(), "can't be changed from here"), server.Log())
	require.Equal(t, "up", w.report(t, w.Server, "server.sock").State)
}

// A full disk does not keep a server from starting, with the addresses that clients had.
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

	// What the operator changes now is not in force, and is told of; it is once there is room.
	w.stepvpn(t, "clients", "revoke", "alice", "-registry", w.path("clients"))
	netlab.Eventually(t, limit, "the server says it", func() bool {
		return strings.Contains(w.report(t, w.Server, "server.sock").Reason, "the registry")
	})
	w.Server.Run(t, "rm", dir+"/fill")
	client.WaitLog(t, "revoked")
	netlab.Eventually(t, limit, "all is well", func() bool { return w.report(t, w.Server, "server.sock").State == "up" })
}
