package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/lan"
)

const (
	publicKey  = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	privateKey = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

// The shortest valid files.
const (
	shortServer = `kind = "server"
key_file = "server.key"
clients_file = "clients"
subnets = ["10.8.0.1/24", "fd00:8::1/64"]
`
	shortClient = `kind = "client"
server = "vpn.example.org:5555"
server_key = "` + publicKey + `"
key_file = "client.key"
`
)

// write makes a file of mode 0600 in a folder of its own.
func write(t testing.TB, text string) (name string) {
	name = filepath.Join(t.TempDir(), "a.toml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func TestDefaults(t *testing.T) {
	name := write(t, shortServer)
	s, err := LoadServer(name)
	require.NoError(t, err)
	folder := filepath.Dir(name)
	require.Equal(t, &Server{
		Listen:       []netip.AddrPort{netip.MustParseAddrPort("[::]:5555")},
		Transports:   []string{"udp", "tcp"},
		Key:          folder + "/server.key",
		Clients:      folder + "/clients",
		State:        "/var/lib/stepvpn",
		Device:       "vpn0",
		Subnets:      []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")},
		MaxClients:   250,
		IdleTimeout:  3 * time.Minute,
		Routes:       Routes{Everything: true},
		DNS:          true,
		DNSUpstreams: []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:53"), netip.MustParseAddrPort("9.9.9.9:53")},
		Offloads:     true,
		StatusSocket: "/run/stepvpn/server.sock", ControlSocket: "/run/stepvpn/server-control.sock",
	}, s)

	name = write(t, shortClient)
	c, err := LoadClient(name)
	require.NoError(t, err)
	require.Equal(t, &Client{
		Servers:      []Endpoint{{"vpn.example.org", 5555}},
		Transport:    "udp",
		ServerKey:    Key([]byte(strings.Repeat("\x01", 32))),
		Key:          filepath.Dir(name) + "/client.key",
		Device:       "vpn0",
		Routes:       Routes{Everything: true},
		LAN:          lan.Private,
		DNS:          true,
		KillSwitch:   true,
		Keepalive:    25 * time.Second,
		Offloads:     true,
		State:        "/var/lib/stepvpn",
		StatusSocket: "/run/stepvpn/client.sock",
	}, c)
}

// Each key can have a value other than its default.
func TestAllKeys(t *testing.T) {
	name := write(t, `kind = "server"
listen = ["203.0.113.10:5555", "[2001:db8::1]:443", ":53"]
transports = ["tcp"]
key_file = "/etc/k"
psk_file = "p"
clients_file = "c"
wireguard = false
state = "s"
device = "tun7"
subnets = ["fd00:8::1/112"]
mtu = 1280
egress = "eth0.100"
max_clients = 65000
client_to_client = true
idle_timeout = "off"
routes = ["10.0.0.0/8", "fd00::/8"]
dns = true
dns_upstreams = ["9.9.9.9:5353", "2620:fe::fe"]
dns_search = ["Example.ORG.", "lan"]
queues = 16
offloads = false
status_socket = ""
status_group = "watchers"
control_socket = "changes"
control_group = "admins"
metrics = "[::1]:9586"
usage = true
`)
	s, err := LoadServer(name)
	require.NoError(t, err)
	folder := filepath.Dir(name)
	require.Equal(t, &Server{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:5555"), netip.MustParseAddrPort("[2001:db8::1]:443"),
			netip.MustParseAddrPort("[::]:53")},
		Transports: []string{"tcp"}, Key: "/etc/k", PSK: folder + "/p", Clients: folder + "/c", State: folder + "/s",
		Device: "tun7", Subnets: []netip.Prefix{netip.MustParsePrefix("fd00:8::1/112")}, MTU: 1280, Egress: []string{"eth0.100"},
		MaxClients: 65000, ClientToClient: true,
		Routes:       Routes{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		DNS:          true,
		DNSUpstreams: []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:5353"), netip.MustParseAddrPort("[2620:fe::fe]:53")},
		DNSSearch:    []string{"example.org", "lan"}, Queues: 16,
		StatusGroup: "watchers", ControlSocket: folder + "/changes", ControlGroup: "admins",
		Metrics: netip.MustParseAddrPort("[::1]:9586"), Usage: true,
	}, s)

	name = write(t, `kind = "client"
server = ["192.0.2.7:443", "[2001:db8::7]:443", "VPN.example.org:1"]
transport = "tcp"
server_key = "`+publicKey+`"
private_key = "`+privateKey+`"
psk = "`+privateKey+`"
login_file = "login"
device = "x"
routes = "pushed"
lan = "none"
dns = true
allow_other_dns = true
kill_switch = false
mtu = 576
keepalive = "1m30s"
offloads = false
state = "/s"
status_socket = "sock"
status_group = "watchers"
metrics = "127.0.0.1:1"
`)
	folder = filepath.Dir(name)
	c, err := LoadClient(name)
	require.NoError(t, err)
	secret := Secret([]byte(strings.Repeat("\x02", 32)))
	require.Equal(t, &Client{
		Servers: []Endpoint{{"192.0.2.7", 443}, {"2001:db8::7", 443}, {"vpn.example.org", 1}}, Transport: "tcp",
		ServerKey: Key([]byte(strings.Repeat("\x01", 32))), PrivateKey: secret, PSK: secret, Login: folder + "/login",
		Device: "x", Routes: Routes{Pushed: true}, LAN: lan.None, DNS: true, AllowOtherDNS: true, MTU: 576, Keepalive: 90 * time.Second,
		State: "/s", StatusSocket: folder + "/sock", StatusGroup: "watchers", Metrics: netip.MustParseAddrPort("127.0.0.1:1"),
	}, c)
	require.Equal(t, "192.0.2.7:443 [2001:db8::7]:443 vpn.example.org:1", fmt.Sprintf("%v %v %v", c.Servers[0], c.Servers[1], c.Servers[2]))
	shown := strings.ReplaceAll(fmt.Sprintf("%v %+v %#v %x", c, c, c, c.PSK), folder, "") // the folder's name may have these digits
	require.Contains(t, shown, "PrivateKey:(secret)")
	for _, leak := range []string{"2 2 2", "0x2, 0x2", "0202"} {
		require.NotContains(t, shown, leak)
	}
}

func TestKind(t *testing.T) {
	for text, want := range map[string]string{shortServer: "server", shortClient: "client"} {
		kind, err := Kind(write(t, text))
		require.NoError(t, err)
		require.Equal(t, want, kind)
	}
	_, err := Kind(write(t, ""))
	require.ErrorContains(t, err, "the key kind is missing")
}

// Clients of the WireGuard protocol come by UDP only.
func TestWireGuardNeedsUDP(t *testing.T) {
	s, err := LoadServer(write(t, shortServer+"wireguard = true\n"))
	require.NoError(t, err)
	require.True(t, s.WireGuard)
	_, err = LoadServer(write(t, shortServer+"wireguard = true\ntransports = [\"tcp\"]\n"))
	require.ErrorContains(t, err, "transports lacks udp")
}

// A relative path starts at the file's folder, and $CREDENTIALS_DIRECTORY at that of systemd.
func TestPaths(t *testing.T) {
	text := strings.ReplaceAll(shortServer, `"server.key"`, `"$CREDENTIALS_DIRECTORY/server.key"`)
	name := write(t, text)
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	s, err := LoadServer(name)
	require.NoError(t, err)
	require.Equal(t, filepath.Dir(name)+"/server.key", s.Key)

	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
	s, err = LoadServer(name)
	require.NoError(t, err)
	require.Equal(t, "/run/credentials/x/server.key", s.Key)
	require.Equal(t, filepath.Dir(name)+"/clients", s.Clients)

	t.Chdir(filepath.Dir(name))
	s, err = LoadServer("a.toml")
	require.NoError(t, err)
	require.Equal(t, "clients", s.Clients)
	require.Equal(t, "", s.PSK)
}

// Editors of Windows begin a file with a byte order mark, and end lines with CR LF.
func TestTextOfWindows(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	windows := func(text string) string { return mark + strings.ReplaceAll(text, "\n", "\r\n") }
	dir := t.TempDir()
	file := func(name, text string) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		return filepath.Join(dir, name)
	}
	key := strings.Repeat("A", 42) + "E="
	file("psk", windows(key+"\n"))
	file("login", windows("alice\n pass word \n"))
	c, err := LoadClient(file("client.toml", windows(shortClient+"psk_file = \"psk\"\nlogin_file = \"login\"\n")))
	require.NoError(t, err)
	psk, err := c.PresharedKey()
	require.NoError(t, err)
	require.NotZero(t, psk)
	user, password, err := c.UserPassword()
	require.NoError(t, err)
	require.Equal(t, []string{"alice", " pass word "}, []string{user, password})

	// The message names the line of a mistake, and says that a file is UTF-16.
	_, err = LoadClient(file("client.toml", windows(shortClient+"mtu = 7\n")))
	require.ErrorContains(t, err, fmt.Sprintf("client.toml:%d: mtu is 7\n", strings.Count(shortClient, "\n")+1))
	_, err = LoadClient(file("client.toml", "\xff\xfek\x00"))
	require.ErrorContains(t, err, "client.toml is text in UTF-16")
}

func TestKeyTwice(t *testing.T) {
	_, err := LoadServer(write(t, shortServer+"mtu = 1400\n# mtu = 2\nmtu = 1500\n"))
	n := strings.Count(shortServer, "\n") + 1
	require.ErrorContains(t, err, fmt.Sprintf(":%d: mtu is set twice, here and on line %d\n    mtu = 1500\n    Allowed: each key once.", n+2, n))
}
