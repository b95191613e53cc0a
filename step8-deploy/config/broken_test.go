package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// loadAny reads a file of a kind.
func loadAny(kind, name string) error {
	var err error
	if kind == KindServer {
		_, err = LoadServer(name)
	} else {
		_, err = LoadClient(name)
	}
	return err
}

// broken loads the short file of a kind, with line in the place of the line that has the same
// key, or else added at the end. It returns the message, with "F" for the file's path.
func broken(t *testing.T, kind, line string) string {
	text := map[string]string{KindServer: shortServer, KindClient: shortClient}[kind]
	key, _, _ := strings.Cut(line, " ")
	var lines []string
	found := false
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, key+" ") {
			l, found = line+"\n", true
		}
		lines = append(lines, l)
	}
	if !found {
		lines = append(lines, line+"\n")
	}
	name := write(t, strings.Join(lines, ""))
	err := loadAny(kind, name)
	require.Error(t, err, line)
	require.IsType(t, Problems{}, err)
	return strings.ReplaceAll(err.Error(), name, "F")
}

// Each file has one wrong line. This is the first line of the message; TestMessages tests the
// others, which show the line's text and what is allowed.
func TestBrokenLines(t *testing.T) {
	for _, c := range []struct{ kind, line, want string }{
		// The TOML itself.
		{"server", `mtu 1400`, "F:5: expected '=' after key"},

		// Types.
		{"server", `mtu = "big"`, "F:5: mtu is text, not a whole number"},
		{"server", `mtu = 1400.5`, "F:5: mtu is a fraction, not a whole number"},
		{"server", `mtu = true`, "F:5: mtu is true or false, not a whole number"},
		{"server", `mtu = 2026-01-01`, "F:5: mtu is a date or a time, not a whole number"},
		{"server", `dns = "yes"`, "F:5: dns is text, not true or false"},
		{"server", `dns = 1`, "F:5: dns is a whole number, not true or false"},
		{"server", `listen = ":5555"`, "F:5: listen is text, not a list"},
		{"server", `listen = [5555]`, "F:5: listen has an element that is a whole number, not text"},
		{"server", `device = ["vpn0"]`, "F:5: device is a list, not text"},
		{"server", `device = {name = "vpn0"}`, "F:5: device is a table, not text"},

		// Bounds.
		{"server", `mtu = 575`, "F:5: mtu is 575"},
		{"server", `mtu = 65536`, "F:5: mtu is 65536"},
		{"server", `mtu = -1`, "F:5: mtu is -1"},
		{"server", `queues = 17`, "F:5: queues is 17"},
		{"server", `max_clients = 0`, "F:5: max_clients is 0"},
		{"server", `max_clients = 65534`, "F:5: max_clients is 65534"},
		{"server", `idle_timeout = "1s"`, "F:5: idle_timeout is 1s, which is too short"},
		{"server", `idle_timeout = "25h"`, "F:5: idle_timeout is 25h, which is too long"},
		{"server", `idle_timeout = "180"`, `F:5: idle_timeout is "180", not a time`},
		{"server", `idle_timeout = 180`, "F:5: idle_timeout is a whole number, not text"},

		// Addresses.
		{"server", `listen = []`, "F:5: listen is an empty list"},
		{"server", `listen = ["5555"]`, `F:5: listen has an element that is "5555", not an address with a port`},
		{"server", `listen = [":0"]`, "F:5: listen has an element that has the port 0"},
		{"server", `listen = ["vpn.example.org:1"]`, `F:5: listen has an element that is "vpn.example.org:1", not an address with a port`},
		{"server", `listen = [":1", "[::]:1"]`, `F:5: listen has "[::]:1" twice`},
		{"server", `metrics = "9586"`, `F:5: metrics is "9586", not an address with a port`},
		{"server", `subnets = ["10.8.0.1"]`, `F:4: subnets has an element that is "10.8.0.1", not an address with a prefix length`},
		{"server", `subnets = ["10.8.0.0/24"]`, "F:4: subnets has an element that is 10.8.0.0/24, the address of the subnet itself; the server needs one in it, such as 10.8.0.1/24"},
		{"server", `subnets = ["10.8.0.255/24"]`, "F:4: subnets has an element that is 10.8.0.255/24, the broadcast address of the subnet"},
		{"server", `subnets = ["10.8.0.1/31"]`, "F:4: subnets has an element that is 10.8.0.1/31, which has no room for a client"},
		{"server", `subnets = ["10.0.0.1/7"]`, "F:4: subnets has an element that is 10.0.0.1/7, which is too large for a subnet"},
		{"server", `subnets = ["127.0.0.1/8"]`, "F:4: subnets has an element that is 127.0.0.1/8, which stays on one host or link"},
		{"server", `subnets = ["224.0.0.1/24"]`, "F:4: subnets has an element that is 224.0.0.1, which is not the address of a host"},
		{"server", `subnets = ["::ffff:10.8.0.1/120"]`, `F:4: subnets has an element that is "::ffff:10.8.0.1/120", an IPv4 address in the form of IPv6`},
		{"server", `subnets = ["10.8.0.1/24", "10.9.0.1/24"]`, "F:4: subnets has two of the same family"},
		{"server", `routes = "all"`, `F:5: routes is "all"`},
		{"server", `routes = "pushed"`, `F:5: routes is "pushed"`},
		{"server", `routes = ["0.0.0.0/0"]`, `F:5: routes has an element that is 0.0.0.0/0; write routes = "everything" instead`},
		{"server", `routes = ["10.1.2.3/8"]`, "F:5: routes has an element that is 10.1.2.3/8, an address inside of the network 10.0.0.0/8"},
		{"server", `routes = ["127.0.0.0/8"]`, "F:5: routes has an element that is 127.0.0.0/8, which never leaves a host or a link"},
		{"server", `routes = [` + strings.Repeat(`"10.0.0.0/8",`, 257) + `]`, "F:5: routes has 257 elements, but at most 256 are allowed"},
		{"server", `dns_upstreams = ["dns.example.org"]`, `F:5: dns_upstreams has an element that is "dns.example.org", not an address`},
		{"server", `dns_upstreams = ["10.8.0.1"]`, "F:5: dns_upstreams has 10.8.0.1, which is the server itself"},
		{"server", `dns_search = ["a..b"]`, `F:5: dns_search has an element that is "a..b", which is not a domain`},
		{"server", `egress = "eth0/1"`, `F:5: egress is "eth0/1", which is not the name of an interface`},
		{"server", `egress = "vpn0"`, "F:5: egress is the tunnel's own device"},
		{"server", `egress = ["eth0", "vpn0"]`, "F:5: egress is the tunnel's own device"},
		{"server", `egress = ["eth0", "eth0"]`, `F:5: egress has "eth0" twice`},
		{"server", `egress = []`, "F:5: egress is an empty list"},
		{"server", `egress = 7`, "F:5: egress is a whole number, not a list"},
		{"server", `device = "a-name-too-long-0"`, `F:5: device is "a-name-too-long-0", which is not the name of an interface`},
		{"server", `transports = ["sctp"]`, `F:5: transports has an element that is "sctp"`},

		// Files.
		{"server", `key_file = ""`, "F:2: key_file is empty"},
		{"server", `key_file = "~/k"`, `F:2: key_file is "~/k", but ~ is not replaced here`},
		{"server", `key_file = "$HOME/k"`, `F:2: key_file is "$HOME/k"; the only variable is $CREDENTIALS_DIRECTORY, at the start and followed by a slash`},
		{"server", `key_file = "a\u0000b"`, "F:2: key_file has a control character in it"},
		{"server", `control_group = "a b"`, `F:5: control_group is "a b", which is not the name of a group`},
		{"server", `status_group = "-x"`, `F:5: status_group is "-x", which is not the name of a group`},
		{"server", `status_socket = "/` + strings.Repeat("x", 107) + `"`, "F:5: status_socket is a path of 108 bytes"},

		// Keys that contradict each other.
		{"server", `mtu = 1279`, "F:5: mtu is 1279, but there is an IPv6 subnet"},
		{"server", `max_clients = 254`, "F:5: max_clients is 254, but 10.8.0.1/24 has room for only 253"},

		// Unknown keys.
		{"server", `lisen = [":1"]`, `F:5: unknown key "lisen"; did you mean listen?`},
		{"server", `Max-Clients = 1`, `F:5: unknown key "Max-Clients"; did you mean max_clients?`},
		{"server", `kill_switch = true`, `F:5: unknown key "kill_switch": it does not belong in the file of a server`},
		{"client", `clients_file = "x"`, `F:5: unknown key "clients_file": it does not belong in the file of a client`},
		{"client", `[server]`, `F:5: key server should be a table, not a value`},
		{"client", `[peer]`, `F:5: tables, such as "peer", are not allowed`},
		{"client", `peer.name = 1`, `F:5: tables, such as "peer.name", are not allowed`},

		// Clients.
		{"client", `server = ""`, `F:2: server is "", without a port`},
		{"client", `server = "vpn.example.org"`, `F:2: server is "vpn.example.org", without a port`},
		{"client", `server = "vpn.example.org:0"`, `F:2: server is "vpn.example.org:0", which does not end in a port`},
		{"client", `server = "vpn.example.org:70000"`, `F:2: server is "vpn.example.org:70000", which does not end in a port`},
		{"client", `server = "2001:db8::1:5555"`, `F:2: server is "2001:db8::1:5555", which does not end in a port`},
		{"client", `server = "10.0.0.300:1"`, `F:2: server is "10.0.0.300:1", which does not begin with a name or an address`},
		{"client", `server = "0.0.0.0:1"`, "F:2: server is 0.0.0.0, which is not the address of a host"},
		{"client", `server = "https://x.org:1"`, `F:2: server is "https://x.org:1", which does not end in a port`},
		{"client", `server = ["a.org:1", "A.org:1"]`, `F:2: server has "A.org:1" twice`},
		{"client", `server = 7`, "F:2: server is a whole number, not a list"},
		{"client", `server_key = "short"`, "F:3: server_key is not a key in base64"},
		{"client", `server_key = "AQEB"`, "F:3: server_key has 3 bytes, a key has 32"},
		{"client", `server_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`, "F:3: server_key is all zero, which is not a key"},
		{"client", `private_key = "` + privateKey + `"`, "F:5: private_key and key_file are both set"},
		{"client", `private_key = "AgICAg"`, "F:5: private_key is not a key in base64"},
		{"client", `psk = "AgIC"`, "F:5: psk has 3 bytes, a key has 32"},
		{"client", `transport = "both"`, `F:5: transport is "both"`},
		{"client", `keepalive = "1s"`, "F:5: keepalive is 1s, which is too short"},
		{"client", `routes = ["fe80::/64"]`, "F:5: routes has an element that is fe80::/64, which never leaves a host or a link"},
		{"client", `kind = "server"`, "F:1: this is the file of a server, but a client is to be started"},
		{"client", `kind = "peer"`, "F:1: kind is neither \"server\" nor \"client\""},
		{"client", `kind = 7`, "F:1: kind is neither \"server\" nor \"client\""},
	} {
		what, _, _ := strings.Cut(broken(t, c.kind, c.line), "\n")
		require.Equal(t, c.want, what, c.line)
	}
}

// A message also shows the line's text, and what is allowed.
func TestMessages(t *testing.T) {
	require.Equal(t, `F:5: mtu is text, not a whole number
    mtu = "big" # bytes
    Allowed: 0 (what the path has room for), or 576 to 65535 bytes.`, broken(t, "server", `mtu = "big" # bytes`))
	require.Equal(t, `F:5: unknown key "keep_alive"; did you mean keepalive?
    keep_alive = "1s"`, broken(t, "client", `keep_alive = "1s"`))

	// An element of a long list is shown on its own line.
	require.Equal(t, `F:7: routes has an element that is "10.0.0.0", not a network with a prefix length
    "10.0.0.0",
    Allowed: "everything", or at most 256 networks, such as ["10.0.0.0/8", "fd00::/8"].`,
		broken(t, "server", "routes = [\n\"192.168.0.0/16\",\n\"10.0.0.0\",\n]"))

	// A missing key has no line. All problems are reported at once, sorted by line.
	name := write(t, "kind = \"client\"\nmtu = 1\n\nfoobarbaz = 1\nserver = 1\n")
	require.Equal(t, `F: the key server_key is missing
    Allowed: 32 bytes in base64: 44 characters.
F: the key private_key or key_file is missing
    Allowed: private_key with the key itself, or key_file with the file that has it.
F:2: mtu is 1
    mtu = 1
    Allowed: 0 (what the path has room for), or 576 to 65535 bytes.
F:4: unknown key "foobarbaz"; a client has: server, transport, server_key, private_key, key_file, psk, psk_file, login_file, wireguard, device, routes, lan, dns, allow_other_dns, kill_switch, mtu, keepalive, offloads, state, status_socket, status_group, metrics
    foobarbaz = 1
F:5: server is a whole number, not a list
    server = 1
    Allowed: "HOST:PORT", or a list of at most 16, the preferred one first.`, strings.ReplaceAll(loadAny("client", name).Error(), name, "F"))

	name = write(t, "kind = \"server\"\n"+strings.Repeat("x", 500)+" = 1\n")
	require.Less(t, len(loadAny("server", name).Error()), 2500, "a message is bounded")
}

// No message shows a secret, whatever is wrong with the secret's line.
func TestSecretsStayOutOfMessages(t *testing.T) {
	const secret = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
	for _, lines := range []string{
		`private_key = "` + secret,
		`private_key = ` + secret,
		`private_key = ["` + secret + `"]`,
		`private_key = "` + secret + `=="`,
		"private_key = \"\"\"\n" + secret + "\"\"\"",
		"private_key = \"\"\"\n" + secret + "=",
		"private_key\n" + secret + "=",
		`private-key = "` + secret + `="`,
		`privkey = "` + secret + `="`,
		`"private_key" = "` + secret[:20] + `"`,
		`psk = "` + secret[:20] + `"`,
		`[` + secret + `]`,
		`mtu = "` + secret + `="`,
		`device = "` + secret + `="`,
		secret + ` = 1`,
	} {
		text := strings.ReplaceAll(shortClient, "key_file = \"client.key\"\n", "") + lines + "\n"
		err := loadAny("client", write(t, text))
		require.Error(t, err, lines)
		require.NotContains(t, err.Error(), secret[:20], lines)
	}
}

func TestFiles(t *testing.T) {
	inline := strings.ReplaceAll(shortClient, `key_file = "client.key"`, `private_key = "`+privateKey+`"`)
	name := write(t, inline)
	require.NoError(t, loadAny("client", name))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644} {
		require.NoError(t, os.Chmod(name, mode))
		require.ErrorContains(t, loadAny("client", name), "it holds a secret, and may be read or changed by users other than its owner")
	}
	name = write(t, shortClient)
	require.NoError(t, os.Chmod(name, 0o644), "others may read a file without a secret")
	require.NoError(t, loadAny("client", name))

	require.EqualError(t, loadAny("client", "/none"), "there is no file /none")
	require.EqualError(t, loadAny("client", "/"), "/ is not a regular file")
	require.ErrorContains(t, loadAny("client", write(t, strings.Repeat("#\n", maxFile/2+1))), "is longer than 65536 bytes")
	require.ErrorContains(t, loadAny("client", write(t, strings.Repeat("[", 20000))), "a.toml:1: ")
	require.ErrorContains(t, loadAny("client", write(t, "a = "+strings.Repeat("[", 20000))), "a.toml:1: ")
	require.ErrorContains(t, loadAny("client", write(t, "\xff")), "a.toml:1: ")
}
