package step8_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
)

// A provider's file, imported on a machine with systemd, runs as a service: the keeper finds the copy
// in its sandbox, and the kill switch holds.
func TestImportedService(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	mine, theirs := noise.GenerateKey(), noise.GenerateKey()

	// Somebody else's server.
	wireguardGo, err := filepath.Abs("../.cache/wireguard-go/wireguard")
	require.NoError(t, err)
	require.FileExists(t, wireguardGo, "type: make setup")
	conf := w.path("stock.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.64.3.4/32\n",
		noise.FormatKey(theirs), noise.FormatKey(mine.Public())), 0o600))
	start := func() *netlab.Process {
		p := w.Server.Start(t, "env", "LOG_LEVEL=verbose", wireguardGo, "-f", "wg0")
		p.WaitLog(t, "UAPI listener started")
		w.Server.Run(t, "bash", "-ec", `wg setconf wg0 "$0"; ip address add 10.64.0.1/16 dev wg0; ip link set wg0 mtu 1420 up`, conf)
		return p
	}
	w.Server.Run(t, "bash", "-ec", `echo 1 >/proc/sys/net/ipv4/ip_forward
		nft -f - <<<'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'`)
	server := start()

	require.NoError(t, os.Remove(b.settings()))
	b.write("root/wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.64.3.4/32\nDNS = %v\n\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0\nEndpoint = %v:51820\n",
		noise.FormatKey(mine), w.Web.V4, noise.FormatKey(theirs.Public()), w.Server.V4))
	b.boot()
	out := b.run("stepvpn", "import", "/root/wg0.conf")
	require.Contains(t, out, "systemctl enable --now stepvpn-client")
	b.run("rm", "/root/wg0.conf")
	require.Contains(t, b.run("stepvpn", "check", "/etc/stepvpn/client.toml"), "they are fine")
	require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6), "before")
	b.run("systemctl", "enable", "--now", "stepvpn-client")
	b.run("stepvpn", "wait-online")
	w.seenAs(t, w.Server.V4.String())
	require.Empty(t, w.whoami(w.Web.V6), "the file has no IPv6, so none leaves in the clear")
	require.Contains(t, b.run("stat", "-c", "%a %U", "/etc/stepvpn/client.conf"), "600 root")

	// A restart, and the death of the keeper, find the keys again. Nothing leaves without the server.
	b.run("systemctl", "restart", "stepvpn-client")
	w.seenAs(t, w.Server.V4.String())
	b.kill()
	w.seenAs(t, w.Server.V4.String())
	server.Kill()
	server.Wait(t)
	require.Empty(t, w.whoami(w.Web.V4))
	b.run("systemctl", "restart", "stepvpn-client")
	require.Empty(t, w.whoami(w.Web.V4))
	start()
	w.seenAs(t, w.Server.V4.String())

	// A key that others may read is refused, and the host stays closed.
	b.run("chmod", "644", "/etc/stepvpn/client.conf")
	_, err = b.try("systemctl", "restart", "stepvpn-client")
	require.Error(t, err)
	require.Empty(t, w.whoami(w.Web.V4))
	netlab.Eventually(t, limit, "the journal says why", func() bool {
		out, _ := b.try("journalctl", "--no-pager", "-u", "stepvpn-client", "-n", "50")
		return strings.Contains(out, "WireGuard file /etc/stepvpn/client.conf may be read or changed by users other than its owner (mode 0644)")
	})
	b.run("chmod", "600", "/etc/stepvpn/client.conf")
	b.up()

	// Another file takes effect by what import says then.
	b.write("root/wg1.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.64.3.4/32\n\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.64.0.0/16\nEndpoint = %v:51820\n",
		noise.FormatKey(mine), noise.FormatKey(theirs.Public()), w.Server.V4))
	out = b.run("stepvpn", "import", "/root/wg1.conf", "-force")
	require.Contains(t, out, "10.64.0.0/16 goes into the tunnel (AllowedIPs)")
	require.Contains(t, out, "\n  systemctl reload-or-restart stepvpn-client\n")
	b.run("systemctl", "reload-or-restart", "stepvpn-client")
	w.seenAs(t, w.Alice.V4.String())
	b.run("ping", "-c", "1", "-W", "10", "10.64.0.1")

	// The operator's stop opens the host.
	b.run("systemctl", "stop", "stepvpn-client")
	w.seenAs(t, w.Alice.V4.String())
}
