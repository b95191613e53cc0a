package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/config"
)

const providersFile = `[Interface]
# Device: Quick Fox
PrivateKey = ` + aKey + `
Address = 10.64.3.4/32
DNS = 10.64.0.1

[Peer]
PublicKey = MCowBQYDK2VuAyEAAQIDBAUGBwgJCgsMDQ4PEBESExQ=
AllowedIPs = 0.0.0.0/0
Endpoint = vpn.example.org:51820
`

// A provider's file becomes settings, which are ours but for what the file says.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(path("wg0.conf"), []byte(providersFile), 0o600))
	out, code := stepvpn(t, dir, "import", "wg0.conf", "-dir", "etc")
	require.Zero(t, code, out)
	require.Equal(t, `wrote etc/client.toml, and etc/client.conf, which is a copy of wg0.conf with its keys
everything goes into the tunnel, to vpn.example.org:51820
next, as root:
  stepvpn check etc/client.toml
  stepvpn client etc/client.toml
`, out)
	for _, name := range []string{"etc/client.toml", "etc/client.conf"} {
		info, err := os.Stat(path(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), name)
	}
	text, err := os.ReadFile(path("etc/client.toml"))
	require.NoError(t, err)
	require.NotContains(t, string(text), aKey, "the keys stand in one file")
	require.Contains(t, string(text), "\n# kill_switch = true\n")
	copied, err := os.ReadFile(path("etc/client.conf"))
	require.NoError(t, err)
	require.Equal(t, providersFile, string(copied))
	c, err := config.LoadClient(path("etc/client.toml"))
	require.NoError(t, err)
	require.Equal(t, path("etc/client.conf"), c.WireGuardFile)
	require.Equal(t, []config.Endpoint{{Host: "vpn.example.org", Port: 51820}}, c.Servers)
	for _, name := range []string{"etc/client.toml", "etc/client.conf", "wg0.conf"} {
		out, code = stepvpn(t, dir, "check", name)
		require.Zero(t, code, out)
		require.Contains(t, out, name+": the settings of a client, and they are fine\n")
		require.NotContains(t, out, "DNS has", name)
	}

	// What is there stays, unless -force says otherwise.
	require.NoError(t, os.WriteFile(path("new.conf"), []byte(strings.NewReplacer("0.0.0.0/0", "10.65.0.0/16, 10.99.0.0/16", "10.64.0.1", "10.64.0.1, 10.65.0.1, 10.65.0.2, 10.65.0.3").Replace(providersFile)), 0o644))
	out, code = stepvpn(t, dir, "import", "new.conf", "-dir", "etc")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stepvpn: etc/client.conf exists already, and is left as it is\n  Choose another folder with -dir; -force overwrites client.toml and client.conf, with the keys in them.\n")
	require.NoError(t, os.Remove(path("etc/client.conf")))
	out, code = stepvpn(t, dir, "import", "new.conf", "-dir", "etc")
	require.Equal(t, 1, code)
	require.Contains(t, out, "stepvpn: etc/client.toml exists already, and is left as it is\n")
	require.NoFileExists(t, path("etc/client.conf"), "nothing half-done")
	out, code = stepvpn(t, dir, "import", "new.conf", "-dir", "etc", "-force")
	require.Zero(t, code, out)
	require.Contains(t, out, "\n2 networks go into the tunnel (AllowedIPs), and all else stays outside of it, to vpn.example.org:51820\n")
	require.Contains(t, out, "warning: other users may have read new.conf (mode 0644), and so can pose as this client\n  Remove it;")
	info, err := os.Stat(path("etc/client.conf"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	out, code = stepvpn(t, dir, "check", "etc/client.toml")
	require.Zero(t, code, out)
	require.Contains(t, out, "warning: DNS has 4 resolvers in etc/client.conf, of which the system asks only the first 3\n")
	require.Contains(t, out, "warning: DNS has 10.64.0.1 in etc/client.conf, but no peer has it in its AllowedIPs: queries will not reach it\n")
}

// A file that is refused leaves nothing behind, and no message repeats its keys.
func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ text, want string }{
		{providersFile + "PostUp = iptables -A FORWARD -j ACCEPT\n", "wg0.conf:11: PostUp is a command, and this program runs none"},
		{strings.ReplaceAll(providersFile, "Address", "# Address"), "wg0.conf:1: [Interface] has no Address"},
		{strings.ReplaceAll(providersFile, aKey, aKey[1:]), "wg0.conf:3: PrivateKey is not a key, which has 44 characters of base64: copy all of it"},
		{"kind = \"client\"\n", "wg0.conf:1: a line stands before the first section"},
		{"", "wg0.conf: it has no section [Interface]"},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "wg0.conf"), []byte(tt.text), 0o600))
		out, code := stepvpn(t, dir, "import", "wg0.conf", "-dir", "etc")
		require.Equal(t, 1, code, out)
		require.Contains(t, out, "stepvpn: "+tt.want)
		require.NotContains(t, out, aKey[1:40])
		require.NoDirExists(t, filepath.Join(dir, "etc"))
	}
	out, code := stepvpn(t, dir, "import", "none.conf", "-dir", "etc")
	require.Equal(t, 1, code)
	require.Equal(t, "stepvpn: there is no file none.conf\n  Whoever runs the server makes it, or your provider offers it for download.\n", out)
	out, code = stepvpn(t, dir, "import", ".", "-dir", "etc")
	require.Equal(t, 1, code)
	require.Equal(t, "stepvpn: . is not a regular file\n", out)
}

// A file of wg-quick's own folder may be in use by it.
func TestWGQuickUnit(t *testing.T) {
	for name, want := range map[string]string{
		"/etc/wireguard/wg0.conf": "wg-quick@wg0", "/etc/wireguard/../wireguard/a.conf": "wg-quick@a",
		"/etc/wireguard/wg0": "", "/etc/wg0.conf": "", "wg0.conf": "",
	} {
		require.Equal(t, want, wgQuickUnit(name), name)
	}
}
