package stock_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// These tests follow a file: from our server's operator, by 'clients add -wireguard', to those who
// run it.

// What a phone's camera sees is enough: the QR code's text, given to wg-quick as it is, brings bob
// into the tunnel with everything.
func TestScannedFile(t *testing.T) {
	v := newVPN(t)
	v.serve(t)
	v.add(t, "phone", "-wireguard", "-qr", v.path("phone.png"))
	text := v.Bob.Run(t, "bash", "-c", `zbarimg --quiet --raw "$0" 2>/dev/null`, v.path("phone.png"))
	require.Contains(t, text, "DNS = 10.8.0.1, fd00:8::1\n")
	text = strings.Replace(text, "DNS = ", "# DNS = ", 1) // wg-quick would call resolvconf(8), which the lab lacks
	file := filepath.Join(t.TempDir(), "wg0.conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))

	v.seenAs(t, v.Bob, v.Bob.V4)
	v.Bob.Run(t, "env", "PATH="+filepath.Dir(wireguardGo)+":"+os.Getenv("PATH"), "wg-quick", "up", file)
	v.seenAs(t, v.Bob, v.Server.V4)
	v.seenAs(t, v.Bob, v.Server.V6)
	require.Contains(t, v.Bob.Run(t, "dig", "+short", "@fd00:8::1", "web.example"), v.Web.V4.String())
	v.Bob.Run(t, "wg-quick", "down", file)
	v.seenAs(t, v.Bob, v.Bob.V4)
}

// Our client runs an imported file of our own server by the other protocol. When the file is
// changed, a reload is enough; when it is changed for the worse, the old one stays in force.
func TestImportedFile(t *testing.T) {
	v := newVPN(t)
	v.serve(t)
	file := v.phone(t, "alice")
	dir := filepath.Join(t.TempDir(), "etc")
	v.Alice.Run(t, netlab.Program("stepvpn"), "import", file, "-dir", dir)
	settings, conf := filepath.Join(dir, "client.toml"), filepath.Join(dir, "client.conf")
	text, err := os.ReadFile(settings)
	require.NoError(t, err)
	text = []byte(strings.NewReplacer(`# state = "/var/lib/stepvpn"`, `state = "state"`, `# status_socket = "/run/stepvpn/client.sock"`, `status_socket = "sock"`).Replace(string(text)))
	require.NoError(t, os.WriteFile(settings, text, 0o600))
	client := v.Alice.Start(t, netlab.Program("stepvpn"), "client", settings)
	client.WaitLog(t, "tunnel is up")
	v.seenAs(t, v.Alice, v.Server.V4)
	v.seenAs(t, v.Alice, v.Server.V6)
	require.Equal(t, v.Server.V4.String(), strings.TrimSpace(v.Alice.Run(t, "curl", "-sS", "-4", "--max-time", "10", "http://web.example/whoami")), "by name")
	require.Contains(t, v.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", filepath.Join(dir, "sock")), "client: up (")

	change := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(conf)
		require.NoError(t, err)
		require.Contains(t, string(text), from)
		require.NoError(t, os.WriteFile(conf, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
		client.Signal(syscall.SIGHUP)
	}
	change("MTU = 1420\n", "MTU = 1420\nPostUp = true\n")
	client.WaitLog(t, "PostUp is a command, and this program runs none")
	v.seenAs(t, v.Alice, v.Server.V4)
	change("PostUp = true\n", "")
	change("AllowedIPs = 0.0.0.0/0, ::/0\n", "AllowedIPs = "+v.Web.V4.String()+", 10.8.0.1\n")
	v.seenAs(t, v.Alice, v.Alice.V6)
	v.seenAs(t, v.Alice, v.Server.V4)
	change("Endpoint = "+v.Server.V4.String(), "Endpoint = ["+v.Server.V6.String()+"]")
	netlab.Eventually(t, limit, "the server sees alice's IPv6 address", func() bool {
		p, there := v.peer(t, "alice")
		return there && p.Endpoint.Addr() == v.Alice.V6
	})
	v.seenAs(t, v.Alice, v.Server.V4)
}

// A server that was started before the setting says nothing to a phone. The operator hears of it.
func TestServerIsNotRestarted(t *testing.T) {
	v := newVPN(t)
	v.set(t, settingsFile, "wireguard", false)
	server := v.serve(t)
	v.set(t, settingsFile, "wireguard", true)
	add := func(name string) (string, error) {
		return v.Server.Try(netlab.Program("stepvpn"), "clients", "add", name, "-wireguard", "-settings", v.path(settingsFile), "-server", v.Server.V4.String(), "-out", v.path(name+".conf"))
	}
	out, err := add("phone")
	require.Error(t, err)
	require.Contains(t, out, "the server does not let clients of the WireGuard protocol in\n  Write wireguard = true into its settings, and restart it: systemctl restart stepvpn-server\n")
	require.NoFileExists(t, v.path("phone.conf"))
	server.Interrupt()
	require.Zero(t, server.Wait(t))
	_, err = add("tablet")
	require.NoError(t, err, "no server runs")
	v.serve(t)
	_, err = add("phone")
	require.NoError(t, err)
}

// A reload is enough to go from our own protocol to the other one, and back. No request leaves in
// the clear meanwhile.
func TestProtocolChanges(t *testing.T) {
	v := newVPN(t)
	v.serve(t)
	ours := v.add(t, "ours")
	v.set(t, "ours.toml", "state", v.path("alice"), "status_socket", v.path("alice.sock"))
	theirs := v.phone(t, "theirs")
	dir := filepath.Join(t.TempDir(), "etc")
	settings := filepath.Join(dir, "client.toml")
	require.NoError(t, os.Mkdir(dir, 0o700))
	text, err := os.ReadFile(ours)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(settings, text, 0o600))
	client := v.Alice.Start(t, netlab.Program("stepvpn"), "client", settings)
	client.WaitLog(t, "tunnel is up")
	is := func(name string) {
		t.Helper()
		netlab.Eventually(t, limit, "alice comes as "+name, func() bool { _, there := v.peer(t, name); return there })
		v.seenAs(t, v.Alice, v.Server.V4)
	}
	is("ours")
	visits := len(v.site.Visits())

	v.Alice.Run(t, netlab.Program("stepvpn"), "import", theirs, "-dir", dir, "-force")
	client.Signal(syscall.SIGHUP)
	is("theirs")
	require.NoError(t, os.WriteFile(settings, text, 0o600))
	client.Signal(syscall.SIGHUP)
	netlab.Eventually(t, limit, "alice has left as theirs", func() bool {
		p, there := v.peer(t, "ours")
		q, too := v.peer(t, "theirs")
		return there && (!too || p.Handshake.After(q.Handshake))
	})
	v.seenAs(t, v.Alice, v.Server.V4)
	for _, visit := range v.site.Visits()[visits:] {
		require.True(t, strings.HasPrefix(visit, v.Server.V4.String()+" "), visit)
	}
}
