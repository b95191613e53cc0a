package config

import (
	"net/netip"
	"time"

	"stepvpn/step8-deploy/reach"
)

// serverSchema returns all settings of a server, in the order of SETTINGS.md.
func serverSchema() []setting[Server] {
	type S = Server
	return []setting[Server]{
		{key: "listen", allowed: `1 to 16 of "ADDRESS:PORT" or ":PORT", such as [":5555"]`, def: []any{":5555"},
			set: list(func(s *S) *[]netip.AddrPort { return &s.Listen }, 1, 16, readListen)},
		{key: "transports", allowed: `"udp", "tcp", or both`, def: []any{"udp", "tcp"},
			set: list(func(s *S) *[]string { return &s.Transports }, 1, 2, choice("udp", "tcp"))},
		{key: "key_file", required: true, allowed: allowedFile,
			set: text(func(s *S) *string { return &s.Key }, readPath)},
		{key: "psk_file", allowed: allowedFile + `, or "" for none`, def: "",
			set: optional(func(s *S) *string { return &s.PSK }, readPath)},
		{key: "clients_file", required: true, allowed: allowedFile,
			set: text(func(s *S) *string { return &s.Clients }, readPath)},
		{key: "wireguard", allowed: allowedYesNo, def: false,
			set: yesNo(func(s *S) *bool { return &s.WireGuard })},
		{key: "state", allowed: "the path of a folder", def: defaultState,
			set: text(func(s *S) *string { return &s.State }, readPath)},

		{key: "device", allowed: allowedName, def: "vpn0",
			set: text(func(s *S) *string { return &s.Device }, readInterface)},
		{key: "subnets", required: true, allowed: `one address with its subnet for IPv4, IPv6 or each, such as ["10.8.0.1/24", "fd00:8::1/64"]`,
			set: list(func(s *S) *[]netip.Prefix { return &s.Subnets }, 1, 2, readSubnet)},
		{key: "mtu", allowed: allowedMTU, def: int64(0),
			set: number(func(s *S) *int { return &s.MTU }, 576, 65535, true)},
		{key: "egress", allowed: allowedName + `, a list of at most 16 such names, or "" for the interfaces of the default routes`, def: "",
			set: unlessEmpty(oneOrMore(func(s *S) *[]string { return &s.Egress }, 16, readInterface))},
		{key: "reach", allowed: `at most 64 of "tcp:PORT", "udp:PORT" and "ADDRESS:PORT", such as ["tcp:22"], ["server"] for all, or [] for DNS and ping only; a file without this key leaves all of the server open, and a warning says so`,
			set: readReach(list(func(s *S) *[]reach.Opening { return &s.Reach }, 0, 64, readOpening))},

		{key: "max_clients", allowed: "1 to 65533, and no more than the subnets have room for", def: int64(250),
			set: number(func(s *S) *int { return &s.MaxClients }, 1, maxClients, false)},
		{key: "client_to_client", allowed: allowedYesNo, def: false,
			set: yesNo(func(s *S) *bool { return &s.ClientToClient })},
		{key: "idle_timeout", allowed: `"30s" to "24h", or "off"`, def: "3m",
			set: duration(func(s *S) *time.Duration { return &s.IdleTimeout }, 30*time.Second, 24*time.Hour)},

		{key: "routes", allowed: `"everything", or ` + allowedNets, def: "everything",
			set: routes(func(s *S) *Routes { return &s.Routes }, false)},
		{key: "dns", allowed: allowedYesNo, def: true,
			set: yesNo(func(s *S) *bool { return &s.DNS })},
		{key: "dns_upstreams", allowed: `1 to 8 of "ADDRESS" or "ADDRESS:PORT"`, def: []any{"1.1.1.1", "9.9.9.9"},
			set: list(func(s *S) *[]netip.AddrPort { return &s.DNSUpstreams }, 1, 8, readUpstream)},
		{key: "dns_search", allowed: `at most 6 domains, such as ["example.org"]`, def: []any{},
			set: list(func(s *S) *[]string { return &s.DNSSearch }, 0, 6, readDomain)},

		{key: "queues", allowed: "0 (a number that fits the host), or 1 to 16", def: int64(0),
			set: number(func(s *S) *int { return &s.Queues }, 1, 16, true)},
		{key: "offloads", allowed: allowedYesNo, def: true,
			set: yesNo(func(s *S) *bool { return &s.Offloads })},

		{key: "status_socket", allowed: allowedSock, def: ServerSocket,
			set: optional(func(s *S) *string { return &s.StatusSocket }, readSocket)},
		{key: "status_group", allowed: allowedGroup, def: "",
			set: optional(func(s *S) *string { return &s.StatusGroup }, readGroup)},
		{key: "control_socket", allowed: allowedSock + "; the default is beside status_socket, or none if that has more than 99 bytes", def: ServerControl,
			set: optional(func(s *S) *string { return &s.ControlSocket }, readSocket)},
		{key: "control_group", allowed: allowedGroup, def: "",
			set: optional(func(s *S) *string { return &s.ControlGroup }, readGroup)},
		{key: "metrics", allowed: allowedProm, def: "",
			set: optional(func(s *S) *netip.AddrPort { return &s.Metrics }, readAddrPort)},
	}
}

// Descriptions of allowed values that several keys share.
const (
	allowedFile  = "the path of a file; a relative one starts at the folder of this file"
	allowedYesNo = "true or false"
	allowedMTU   = "0 (what the path has room for), or 576 to 65535 bytes"
	allowedName  = "1 to 15 letters, digits and _ . @ -"
	allowedSock  = `the path of a socket, of at most 107 bytes, or "" for none`
	allowedGroup = `the name of a group, whose members may use the socket, or "" for root alone`
	allowedProm  = `"ADDRESS:PORT", such as "127.0.0.1:9586", or "" for none`
	allowedNets  = `at most 256 networks, such as ["10.0.0.0/8", "fd00::/8"]`
)

// Paths that are used if a file does not set others.
const (
	defaultState = "/var/lib/stepvpn"
	ServerSocket = "/run/stepvpn/server.sock"
	ClientSocket = "/run/stepvpn/client.sock"

	ServerControl = "/run/stepvpn/server-control.sock"
)

// maxClients is the largest max_clients: an IPv4 /16 has room for this many.
const maxClients = 65533
