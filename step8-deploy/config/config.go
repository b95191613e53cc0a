// Package config reads the settings of the server and of a client from TOML
// files, says what is wrong with a file and on which line, and writes first
// files with a comment for each setting.
//
// Introduced in step 8.
//
// A file is a flat list of keys, one of which, kind, says whether it is meant for
// a server or a client. schema_server.go and schema_client.go list all keys, each with
// the values that are allowed. Nothing in a file is ignored: an unknown key, or a value
// of the wrong type or out of bounds, is an error with the file, the line, the
// line's text, and what is allowed. All errors of a file are reported at once.
//
// # Files that a file names
//
// A relative path starts at the folder of the file that names it. A path may
// start with $CREDENTIALS_DIRECTORY, which is where systemd puts the copies of
// keys that it made for a service (LoadCredential= in systemd.exec(5)). If this
// variable is not set, as in a shell, it also means the folder of the file: so the
// same file works by hand and as a service. No other variable is replaced.
//
// The setting wireguard names a file of another form, that of the WireGuard protocol's own
// programs: see wireguard.go.
//
// # Secrets
//
// A file that holds a secret (a private key, the pre-shared key, a password) is
// refused if group or others may read or change it, and no error shows the text
// of a line that holds one.
//
// # What is not covered
//
// LoadServer and LoadClient do not look at the host or the network. They do not find out
// whether an address is one of this host's, whether an interface exists, or whether a name
// can be resolved. CheckFiles only reads the secrets that a file names.
package config

import (
	"net/netip"
	"time"

	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/reach"
)

// The kinds of a file.
const (
	KindServer = "server"
	KindClient = "client"
)

// A Server has the settings of a server. Paths are absolute, or relative to the
// working folder if the file's own path was.
type Server struct {
	Listen     []netip.AddrPort // an unspecified address (:: or 0.0.0.0) stands for all
	Transports []string         // "udp", "tcp", or both
	Key        string           // file with the private key
	PSK        string           // file with the pre-shared key; "": none
	Clients    string           // file with the registry of clients
	WireGuard  bool             // whether clients of the WireGuard protocol may come in, too
	State      string           // folder for what is kept from one start to the next

	Device  string          // name of the TUN device
	Subnets []netip.Prefix  // the server's addresses in the tunnel, with the subnets
	MTU     int             // bytes; 0: as large as the path to the internet allows
	Egress  []string        // interfaces that packets leave by; none: those of the default routes
	Reach   []reach.Opening // what clients can reach of the server itself; nil (the key is missing): everything

	MaxClients     int
	ClientToClient bool
	IdleTimeout    time.Duration // 0: never

	Routes       Routes // what clients are told to send into the tunnel
	DNS          bool   // whether the server answers queries, and clients are told to ask it
	DNSUpstreams []netip.AddrPort
	DNSSearch    []string

	Queues   int // 0: a number that fits the host
	Offloads bool

	StatusSocket  string         // path of the Unix socket; "": none
	StatusGroup   string         // the group that may use it; "": that of the process
	ControlSocket string         // path of the Unix socket for changes; "": none
	ControlGroup  string         // the group that may use it; "": none but root
	Metrics       netip.AddrPort // where Prometheus can fetch metrics; the zero value: nowhere
	Usage         bool           // whether to keep how much each client has used: see package usage
}

// A Client has the settings of a client. For paths see Server.
type Client struct {
	Servers    []Endpoint // in order of preference
	Transport  string     // "udp" or "tcp"
	ServerKey  Key        // the server's public key
	PrivateKey Secret     // the client's own, if the file itself has it
	Key        string     // otherwise the file that has it
	PSK        Secret     // the pre-shared key, if the file itself has it
	PSKFile    string     // otherwise the file that has it; "": there is none
	Login      string     // file with user name and password, one per line; "": none

	// For the WireGuard protocol, WireGuard takes the place of all above but Servers, which are
	// the Endpoints of its peers, and of Keepalive. nil: our own protocol.
	WireGuard     *conf.File
	WireGuardFile string // where it stands; "": none

	Device        string
	Routes        Routes     // what goes into the tunnel
	LAN           lan.Policy // which networks are local, and stay outside of the tunnel
	DNS           bool       // whether to take the server's DNS settings
	AllowOtherDNS bool       // whether programs may ask other resolvers
	KillSwitch    bool       // whether routes and DNS stay taken while there is no connection
	MTU           int        // bytes; 0: as large as the path to the server allows
	Keepalive     time.Duration
	Offloads      bool

	State        string
	StatusSocket string
	StatusGroup  string
	Metrics      netip.AddrPort
}

// Routes says what goes into the tunnel.
type Routes struct {
	Everything bool
	Pushed     bool           // the networks that the server names; only in a client's file
	Prefixes   []netip.Prefix // if neither of the above
}

// An Endpoint is where a server listens.
type Endpoint struct {
	Host string // a name, or an address without brackets
	Port uint16
}

// KeySize is the length of a key in bytes.
const KeySize = 32

// A Key is a public key.
type Key [KeySize]byte

// A Secret is a private or a pre-shared key that the file itself has. The zero value means
// that there is none. Printing and logging do not show it (see hide.go).
type Secret [KeySize]byte
