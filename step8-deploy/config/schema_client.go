package config

import (
	"net/netip"
	"time"

	"stepvpn/step8-deploy/lan"
)

// clientSchema returns all settings of a client, in the order of SETTINGS.md.
func clientSchema() []setting[Client] {
	type C = Client
	const allowedKey = "32 bytes in base64: 44 characters"
	const inFile = "its file says that, as "
	return []setting[Client]{
		{key: "server", instead: inFile + "Endpoint", required: true, allowed: `"HOST:PORT", or a list of at most 16, the preferred one first`,
			set: oneOrMore(func(c *C) *[]Endpoint { return &c.Servers }, 16, readEndpoint)},
		{key: "transport", instead: "the WireGuard protocol always goes over UDP", allowed: `"udp" or "tcp"`, def: "udp",
			set: text(func(c *C) *string { return &c.Transport }, choice("udp", "tcp"))},
		{key: "server_key", instead: inFile + "PublicKey", required: true, allowed: allowedKey,
			set: text(func(c *C) *Key { return &c.ServerKey }, key[Key])},
		{key: "private_key", instead: inFile + "PrivateKey", allowed: allowedKey,
			set: text(func(c *C) *Secret { return &c.PrivateKey }, key[Secret])},
		{key: "key_file", instead: inFile + "PrivateKey", allowed: allowedFile,
			set: text(func(c *C) *string { return &c.Key }, readPath)},
		{key: "psk", instead: inFile + "PresharedKey", allowed: allowedKey + `, or "" for none`, def: "",
			set: optional(func(c *C) *Secret { return &c.PSK }, key[Secret])},
		{key: "psk_file", instead: inFile + "PresharedKey", allowed: allowedFile + `, or "" for none`, def: "",
			set: optional(func(c *C) *string { return &c.PSKFile }, readPath)},
		{key: "login_file", instead: "the WireGuard protocol knows no passwords", allowed: allowedFile + `, or "" for none`, def: "",
			set: optional(func(c *C) *string { return &c.Login }, readPath)},
		{key: "wireguard", allowed: `the path of a file of the WireGuard protocol's own programs (wg-quick), which takes the place of the settings above, mtu and keepalive; or "" for none`, def: "",
			set: optional(func(c *C) *string { return &c.WireGuardFile }, readPath)},

		{key: "device", allowed: allowedName, def: "vpn0",
			set: text(func(c *C) *string { return &c.Device }, readInterface)},
		{key: "routes", allowed: `"everything", "pushed" (what the server says, or AllowedIPs in a file that wireguard names, beside which it is the default), or ` + allowedNets, def: "everything",
			set: routes(func(c *C) *Routes { return &c.Routes }, true)},
		{key: "lan", allowed: `"private", "none" or "as routed"`, def: string(lan.Private),
			set: text(func(c *C) *lan.Policy { return &c.LAN }, readLAN)},
		{key: "dns", allowed: allowedYesNo, def: true,
			set: yesNo(func(c *C) *bool { return &c.DNS })},
		{key: "allow_other_dns", allowed: allowedYesNo, def: false,
			set: yesNo(func(c *C) *bool { return &c.AllowOtherDNS })},
		{key: "kill_switch", allowed: allowedYesNo, def: true,
			set: yesNo(func(c *C) *bool { return &c.KillSwitch })},
		{key: "mtu", instead: inFile + "MTU", allowed: allowedMTU, def: int64(0),
			set: number(func(c *C) *int { return &c.MTU }, 576, 65535, true)},
		{key: "keepalive", instead: inFile + "PersistentKeepalive", allowed: `"5s" to "10m", or "off"`, def: "25s",
			set: duration(func(c *C) *time.Duration { return &c.Keepalive }, 5*time.Second, 10*time.Minute)},
		{key: "offloads", allowed: allowedYesNo, def: true,
			set: yesNo(func(c *C) *bool { return &c.Offloads })},

		{key: "state", allowed: "the path of a folder", def: defaultState,
			set: text(func(c *C) *string { return &c.State }, readPath)},
		{key: "status_socket", allowed: allowedSock, def: ClientSocket,
			set: optional(func(c *C) *string { return &c.StatusSocket }, readSocket)},
		{key: "status_group", allowed: allowedGroup, def: "",
			set: optional(func(c *C) *string { return &c.StatusGroup }, readGroup)},
		{key: "metrics", allowed: allowedProm, def: "",
			set: optional(func(c *C) *netip.AddrPort { return &c.Metrics }, readAddrPort)},
	}
}

// readLAN reads the policy that says which networks count as local.
func readLAN(s string) (lan.Policy, error) {
	word, err := choice(lan.Policies...)(s)
	return lan.Policy(word), err
}
