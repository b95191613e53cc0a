package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const wireGuardFile = `[Interface]
PrivateKey = ` + privateKey + `
Address = 10.9.0.2/32
DNS = 10.9.0.1

[Peer]
PublicKey = ` + publicKey + `
AllowedIPs = 0.0.0.0/0
Endpoint = vpn.example.org:51820
`

// writeWireGuard makes a file of settings, and beside it a file client.conf; it returns the
// former's name.
func writeWireGuard(t *testing.T, settings, text string) (name string) {
	name = write(t, settings)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(name), "client.conf"), []byte(text), 0o600))
	return name
}

const shortWireGuard = "kind = \"client\"\nwireguard = \"client.conf\"\n"

// What a file for the WireGuard protocol says becomes settings. The rest are those of all clients.
func TestWireGuard(t *testing.T) {
	text, err := ClientTemplate{File: "client.toml", WireGuard: "client.conf"}.Render()
	require.NoError(t, err)
	for _, settings := range []string{shortWireGuard, string(text)} {
		name := writeWireGuard(t, settings, wireGuardFile)
		c, err := LoadClient(name)
		require.NoError(t, err)
		require.Equal(t, []Endpoint{{"vpn.example.org", 51820}}, c.Servers)
		require.Equal(t, "udp", c.Transport)
		require.Equal(t, 1420, c.MTU)
		require.Equal(t, Routes{Everything: true}, c.Routes)
		require.True(t, c.KillSwitch && c.DNS)
		require.Equal(t, filepath.Join(filepath.Dir(name), "client.conf"), c.WireGuardFile)
		own, err := c.OwnKey()
		require.NoError(t, err)
		require.EqualValues(t, c.WireGuard.PrivateKey, own)
		require.NoError(t, c.CheckFiles())

		// The file alone stands for settings that only name it.
		alone, err := LoadClient(c.WireGuardFile)
		require.NoError(t, err)
		require.Equal(t, c, alone)
		kind, err := Kind(c.WireGuardFile)
		require.NoError(t, err)
		require.Equal(t, KindClient, kind)
		_, err = LoadServer(c.WireGuardFile)
		require.ErrorContains(t, err, "this is the file of a client, but a server is to be started")
	}

	// By its content, the file is known under any name; by its name, if it has something else.
	_, err = LoadClient(write(t, "# mine\n\n [INTERFACE]\n"))
	require.ErrorContains(t, err, "[Interface] has no PrivateKey")
	for _, text := range []string{"x = 1\n", "x = 1\n[peer]\n"} {
		name := writeWireGuard(t, "", text)
		_, err = LoadClient(filepath.Join(filepath.Dir(name), "client.conf"))
		require.ErrorContains(t, err, "client.conf:1: a line stands before the first section")
	}
	name := writeWireGuard(t, "", strings.Replace(shortClient, "\n", "\n[peer]\n", 1))
	_, err = LoadClient(filepath.Join(filepath.Dir(name), "client.conf"))
	require.ErrorContains(t, err, `tables, such as "peer", are not allowed`)
}

// AllowedIPs say what goes into the tunnel, as far as the settings don't.
func TestWireGuardRoutes(t *testing.T) {
	list := func(nets ...string) (r Routes) {
		for _, n := range nets {
			r.Prefixes = append(r.Prefixes, netip.MustParsePrefix(n))
		}
		return r
	}
	everything := Routes{Everything: true}
	for _, tt := range []struct {
		allowed, routes string
		want            Routes
		fails           string
	}{
		{"0.0.0.0/0, ::/0", "", everything, ""},
		{"::/0", "", everything, ""},
		{"128.0.0.0/1, 0.0.0.0/1", "", everything, ""},
		{"10.0.0.0/9, 10.128.0.0/9, 10.3.0.0/16, fd00::/8", "", list("10.0.0.0/8", "fd00::/8"), ""},
		{"10.0.0.0/9, 10.128.0.0/9", `"pushed"`, list("10.0.0.0/8"), ""},
		{"10.0.0.0/8", `"everything"`, everything, ""},
		{"0.0.0.0/0", `["10.0.0.0/8"]`, list("10.0.0.0/8"), ""},
		{"10.0.0.0/8", `["10.1.0.0/16"]`, list("10.1.0.0/16"), ""},
		{"10.0.0.0/8", `["10.1.0.0/16", "192.0.2.0/24"]`, Routes{}, "a.toml:3: routes has 192.0.2.0/24, but no peer in client.conf has it in its AllowedIPs"},
	} {
		settings := shortWireGuard
		if tt.routes != "" {
			settings += "routes = " + tt.routes + "\n"
		}
		text := strings.NewReplacer("0.0.0.0/0", tt.allowed, "DNS = 10.9.0.1\n", "").Replace(wireGuardFile)
		name := writeWireGuard(t, settings, text)
		c, err := LoadClient(name)
		if tt.fails != "" {
			require.ErrorContains(t, err, tt.fails)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tt.want, c.Routes, tt)
	}
}

// A file whose resolvers get no packet is refused.
func TestWireGuardResolvers(t *testing.T) {
	for _, tt := range []struct{ allowed, dns, fails string }{
		{"0.0.0.0/0", "1.1.1.1", ""},
		{"0.0.0.0/0", "2001:db8::1, 1.1.1.1", ""},
		{"0.0.0.0/0", "2001:db8::1", "2001:db8::1"},
		{"10.0.0.0/8", "10.255.0.1", ""},
		{"10.0.0.0/8", "1.1.1.1, 10.255.0.1", ""},
		{"10.0.0.0/8", "1.1.1.1", "1.1.1.1"},
		{"10.0.0.0/8", "1.1.1.1, 1.0.0.1, 9.9.9.9, 10.0.0.1", "1.1.1.1"}, // the system does not ask the last one
		{"10.0.0.0/8", "corp.example", ""},
	} {
		text := strings.NewReplacer("0.0.0.0/0", tt.allowed, "10.9.0.1\n", tt.dns+"\n").Replace(wireGuardFile)
		name := writeWireGuard(t, shortWireGuard, text)
		_, err := LoadClient(name)
		if tt.fails == "" {
			require.NoError(t, err, tt)
			continue
		}
		require.ErrorContains(t, err, "client.conf: DNS has "+tt.fails+", which no peer has in its AllowedIPs", tt)
		_, err = LoadClient(writeWireGuard(t, shortWireGuard+"dns = false\n", text))
		require.NoError(t, err, "nobody is to be asked there")
	}
}

// Each setting that the file has itself is refused beside it, and so is a file that is none.
func TestWireGuardRefuses(t *testing.T) {
	refused := 0
	values := map[string]string{"server": `"a:1"`, "transport": `"tcp"`, "server_key": `"` + publicKey + `"`, "private_key": `"` + privateKey + `"`, "mtu": "1400"}
	for _, s := range clientSchema() {
		if s.instead == "" {
			continue
		}
		value := `""`
		if v, is := values[s.key]; is {
			value = v
		}
		_, err := LoadClient(writeWireGuard(t, shortWireGuard+s.key+" = "+value+"\n", wireGuardFile))
		require.ErrorContains(t, err, "a.toml:3: "+s.key+" is set, but so is wireguard: "+s.instead)
		require.Len(t, err, 1, "one problem: %v", err)
		require.NotContains(t, err.Error(), privateKey)
		refused++
	}
	require.Equal(t, 10, refused)

	name := write(t, shortWireGuard)
	missing := filepath.Join(filepath.Dir(name), "client.conf")
	_, err := LoadClient(name)
	require.EqualError(t, err, "there is no file "+missing)
	_, err = LoadClient(writeWireGuard(t, shortWireGuard, wireGuardFile+"FwMark = 1\n"))
	require.ErrorContains(t, err, "client.conf:10: FwMark is not honoured")
	_, err = LoadClient(write(t, strings.ReplaceAll(shortWireGuard, `"client.conf"`, "true")))
	require.ErrorContains(t, err, "wireguard is true or false, not text")
	name = writeWireGuard(t, shortWireGuard, wireGuardFile)
	require.NoError(t, os.Chmod(filepath.Join(filepath.Dir(name), "client.conf"), 0o644))
	_, err = LoadClient(name)
	require.ErrorContains(t, err, "may be read or changed by users other than its owner (mode 0644)")
}
