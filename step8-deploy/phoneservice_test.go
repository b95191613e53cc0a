package step8_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// The service of a server that lets phones in makes its key for them, which its sandbox would not
// let it write, and lets in a stock client of the WireGuard protocol, also after it was killed.
// (The server is on alice, as a machine with systemd; the phone is bob.)
func TestServiceForPhones(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	wireguardGo, err := filepath.Abs("../.cache/wireguard-go/wireguard")
	require.NoError(t, err)
	require.FileExists(t, wireguardGo, "type: make setup")
	b.boot()
	b.run("stepvpn", "init", "server")
	b.run("sed", "-i", "s/^# wireguard = false/wireguard = true/", "/etc/stepvpn/server.toml")
	b.run("systemctl", "enable", "--now", "stepvpn-server")
	require.Equal(t, "600 root", b.run("stat", "-c", "%a %U", "/etc/stepvpn/wireguard.key"))
	require.Contains(t, b.run("stepvpn", "check", "/etc/stepvpn/server.toml"), "they are fine")

	b.run("stepvpn", "clients", "add", "phone", "-wireguard", "-server", w.Alice.V4.String(), "-out", "/root/phone.conf")
	p := w.Bob.Start(t, "env", "LOG_LEVEL=verbose", wireguardGo, "-f", "wg0")
	p.WaitLog(t, "UAPI listener started")
	w.Bob.Run(t, "bash", "-ec", `wg setconf wg0 <(wg-quick strip "$0")
		ip address add 10.8.0.2/24 dev wg0; ip link set wg0 mtu 1420 up`, b.path("root/phone.conf"))
	require.Contains(t, b.run("cat", "/root/phone.conf"), "10.8.0.2/32", "the detector below pings from this address")
	pings := func(when string) {
		t.Helper()
		netlab.Eventually(t, limit, "the phone is in "+when, func() bool {
			_, err := w.Bob.Try("ping", "-c", "1", "-W", "2", "10.8.0.1")
			return err == nil
		})
	}
	pings("at first")
	before := b.run("stepvpn", "status", "-socket", "/run/stepvpn/server.sock")
	require.Contains(t, before, "phone")

	b.run("systemctl", "kill", "-s", "KILL", "stepvpn-server-worker", "stepvpn-server")
	pings("after both processes were killed")
	b.run("systemctl", "restart", "stepvpn-server")
	pings("after a restart")
	require.NotContains(t, b.run("journalctl", "--no-pager", "-u", "stepvpn-server*", "-p", "err"), "wireguard")
	require.Equal(t, 1, strings.Count(b.run("ls", "/etc/stepvpn"), "wireguard.key"))

	// Without the socket at which the worker tells its leases, nobody knows which addresses are free.
	b.run("sed", "-i", "-e", `/^status_socket/d; /^# status_socket/s|.*|status_socket = ""|; /^# control_socket/s|.*|control_socket = "/run/stepvpn/server-control.sock"|`, "/etc/stepvpn/server.toml")
	b.run("systemctl", "restart", "stepvpn-server")
	add := func(more ...string) (string, error) {
		return b.try(append([]string{"stepvpn", "clients", "add", "tablet", "-wireguard", "-server", w.Alice.V4.String(), "-out", "/root/tablet.conf"}, more...)...)
	}
	out, err := add()
	require.Error(t, err, out)
	require.Contains(t, out, "the setting status_socket is empty\n  Set status_socket to a path, such as \"/run/stepvpn/server.sock\", and restart the server: systemctl restart stepvpn-server.")
	_, err = b.try("test", "-e", "/root/tablet.conf")
	require.Error(t, err, "nothing half-done is left")
	out, err = add("-addr", "10.8.0.77")
	require.NoError(t, err, out)
	b.run("sed", "-i", `/^status_socket/d`, "/etc/stepvpn/server.toml")
	b.run("systemctl", "restart", "stepvpn-server")
	b.run("stepvpn", "clients", "revoke", "tablet")
	b.run("rm", "/root/tablet.conf")
	out, err = add()
	require.NoError(t, err, "what the error says helps: %s", out)
}
