// Package control is how other programs talk to a running daemon: a small API of HTTP and JSON
// at two Unix sockets, which 'stepvpn' itself uses, too. CONTROL.md is its reference.
//
// Introduced in step 8.
//
// One socket only reads: the worker, which has no privileges, answers there what the daemon
// does. The other one changes who may come in; a server's keeper, which is root, serves it. Who
// may use a socket is a matter of its mode and group, which the kernel checks. Who has used it,
// the kernel says, too (SO_PEERCRED in unix(7)), and an audit log remembers.
//
// Everything that comes from a socket is hostile until it is parsed: sizes, times, and the
// number of connections are bounded, for each user by itself, and unknown fields are refused.
//
// Each file is one idea:
//
//	control.go  what is asked and answered
//	socket.go   a socket, with its mode and group
//	serve.go    the HTTP server at a socket, with its limits
//	route.go    a request, and how its answer or error is sent
//	events.go   what happens, as a stream
//	audit.go    who has changed what
//	ask.go      the other side: programs that ask a daemon
package control

import (
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/status"
)

// Version is the version of the API, with which all paths begin. Within a version, answers may
// get more fields, and there may be more paths.
const Version = "v1"

// A Client is what a server tells about a client that may come in: an element of the list
// at GET /v1/clients.
type Client struct {
	Name      string       `json:"name"`
	PublicKey string       `json:"public_key"`          // in base64
	Addresses []netip.Addr `json:"addresses,omitempty"` // fixed ones, from the registry
	Expires   time.Time    `json:"expires,omitzero"`    // when it is refused from
	Expired   bool         `json:"expired,omitempty"`
	Password  bool         `json:"password,omitempty"` // it must also give a password
	OwnPSK    bool         `json:"own_psk,omitempty"`  // it has a pre-shared key of its own
	LastSeen  time.Time    `json:"last_seen,omitzero"` // when it was last connected; zero: never, or now
	NextKey   bool         `json:"next_key,omitempty"` // it last came by the key that the server is changing to

	LimitDown int64         `json:"limit_down,omitempty"` // bits per second to it, by its line or the server's settings; 0: no limit
	LimitUp   int64         `json:"limit_up,omitempty"`   // from it
	Quota     *status.Quota `json:"quota,omitempty"`      // nil: none
	OwnLimits *Limit        `json:"own_limits,omitempty"` // what its line says of these, as a request sets it; nil: nothing

	Session *status.Peer `json:"session,omitempty"` // nil: it is not connected
}

// ClientOf returns what the registry says about a client.
func ClientOf(c *identity.Client, now time.Time) Client {
	return Client{
		Name: c.Name, PublicKey: noise.FormatKey(c.Key), Addresses: c.Addrs,
		Expires: c.Expires, Expired: c.Expired(now), Password: c.NeedsPassword(), OwnPSK: c.OwnPSK,
	}
}

// Clients is the answer to GET /v1/clients.
type Clients struct {
	Registry string   `json:"registry"` // the digest of the registry, as in status.Report
	Clients  []Client `json:"clients"`
}

// Leases is the answer to GET /v1/leases.
type Leases struct {
	File string `json:"file"` // the text of the file in which a server keeps the clients' addresses
}

// An AddRequest is what POST /v1/clients takes: a client to be added. The server's settings say the rest.
type AddRequest struct {
	Name         string `json:"name"`
	Server       string `json:"server"`                  // "HOST" or "HOST:PORT", as clients reach it
	PublicKey    string `json:"public_key,omitempty"`    // in base64, if the client keeps its private key to itself; "": make one
	Addresses    string `json:"addr,omitempty"`          // fixed ones, separated by commas
	Expires      string `json:"expires,omitempty"`       // a date, a moment, or a time from now, as in 'clients add -expires'
	PasswordHash string `json:"password_hash,omitempty"` // a PHC string of argon2id; "": it needs no password
	OwnPSK       bool   `json:"own_psk,omitempty"`
	Transport    string `json:"transport,omitempty"` // "udp", "tcp", or "" for what the settings say
	WireGuard    bool   `json:"wireguard,omitempty"`
}

// A Change is the answer to a request that has changed something.
type Change struct {
	Client   string    `json:"client"`             // its name
	Registry string    `json:"registry"`           // the digest of the registry as it is now: GET /v1/status has the same once it is in force
	Expires  time.Time `json:"expires,omitzero"`   // of a request to expire: from when it is refused; none: never
	Revoked  string    `json:"revoked,omitempty"`  // when it had been revoked before, and so nothing was changed (RFC 3339)
	File     string    `json:"file,omitempty"`     // of a client that was added: its file, which nobody can get a second time
	Settings bool      `json:"settings,omitempty"` // that file is one of our own settings (client.toml), not of the WireGuard protocol
}

// An About is the answer to GET /v1/server at the socket for changes: whose registry is changed there.
type About struct {
	Registry  string `json:"registry"`            // the file
	Digest    string `json:"digest"`              // of that file as it is now
	Version   string `json:"version"`             // of the program
	WireGuard bool   `json:"wireguard,omitempty"` // whether clients of that protocol may come in
}

// A When is the argument of POST /v1/clients/NAME/expire.
type When struct {
	Expires string `json:"expires"` // as in AddRequest, or "never"
}

// A To is the argument of POST /v1/clients/NAME/rename.
type To struct {
	Name string `json:"name"`
}

// A Limit is the argument of POST /v1/clients/NAME/limit. A field may also be "none" for no limit, "default"
// for what the server's settings say, or "" to leave it as it is.
type Limit struct {
	Down  string `json:"down,omitempty"`  // the rate to the client, such as "20Mbit/s"
	Up    string `json:"up,omitempty"`    // the rate from it
	Quota string `json:"quota,omitempty"` // what it may use in a month, such as "100GB/month"
}

// A Password is the argument of POST /v1/clients/NAME/password.
type Password struct {
	Hash string `json:"password_hash"` // a PHC string of argon2id; "": it needs no password any more
}
