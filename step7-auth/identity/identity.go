// Package identity knows who may come in. Introduced in step 7.
//
// A client is known by its public key (X25519, package noise). The server keeps
// a registry of its clients: a text file in the manner of OpenSSH's
// authorized_keys, one line per client.
//
//	# NAME  PUBLIC-KEY  [OPTION...]
//	alice   hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
//	bob     3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=  addr=10.8.0.7,fd00:8::7 expires=2026-12-31  # his phone
//
// The options, in any order, each at most once:
//
//	addr=ADDRESS[,ADDRESS...]  fixed addresses in the tunnel, up to 8
//	expires=DATE               the client is refused from 0:00 UTC of that day on, such as
//	                           2026-12-31, or from a moment, such as 2026-12-31T18:00:00+01:00
//	psk=own                    the client has a pre-shared key of its own: step 8
//	password=HASH              the client must also give a password, which has this hash
//
// HASH is a PHC string, as 'clients passwd' and 'argon2 SALT -id -e' make it
// (phc.go). The limits on all this are in parse.go.
//
// A comment begins with a # at the start of a word. Comments and blank lines are for
// people, and stay as they are when a program edits the file. Anybody who can write the
// file decides who comes in, so a file that users other than its owner (or root) can
// write or replace is refused.
//
// Each file is one idea:
//
//	identity.go   a client, and the clients by key and by name
//	parse.go      the registry's lines
//	option.go     the options of a line
//	newoption.go  ...and those of chapters after step 8
//	find.go       a client by its name, and a hint if there is none
//	file.go       files: read with care, replaced in one move, one editor at a time
//	edit.go       change a client's line, and nothing else
//	diff.go       what differs between two registries, and which clients have expired
//	watch.go      a running server follows the file
//	handshake.go  the keys of the server's handshake, from files
//	phc.go        a password's hash, as text
//	password.go   check a password, at bounded cost
//	throttle.go   the more wrong guesses, the longer the wait
//	profile.go    the client's file: all that a client program needs
//
// Not covered: how a password travels (only inside an established session, and
// that is the server's business), groups of clients, certificates, and access
// control lists or SELinux labels of a file that is edited.
package identity

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Client is one line of a registry. It must not be changed.
type Client struct {
	Name     string          // unique; 1 to 63 letters, digits and . _ @ -
	Key      noise.PublicKey // unique; proves who it is
	Addrs    []netip.Addr    // its fixed addresses; no two clients share one
	Expires  time.Time       // zero: never
	Password *PasswordHash   // nil: it needs none
	OwnPSK   bool            // it has a pre-shared key of its own, which is not kept here
	others   map[string]string
	Line     int // in the file, from 1; 0 if it was not read from one
}

// Expired reports whether the client's access has expired.
func (c *Client) Expired(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires)
}

// NeedsPassword reports whether the client must also give a password.
func (c *Client) NeedsPassword() bool { return c.Password != nil }

// String returns the client's name, for logs.
func (c *Client) String() string { return c.Name }

// text returns the client's line, without a line end.
func (c *Client) text() string {
	words := []string{c.Name, noise.FormatKey(c.Key)}
	if len(c.Addrs) > 0 {
		words = append(words, "addr="+FormatAddrs(c.Addrs))
	}
	if !c.Expires.IsZero() {
		words = append(words, "expires="+c.Expires.UTC().Format(time.RFC3339))
	}
	if c.OwnPSK {
		words = append(words, "psk=own")
	}
	words = append(words, c.othersText()...)
	if c.Password != nil {
		words = append(words, "password="+c.Password.String())
	}
	return strings.Join(words, " ")
}

// FormatAddrs returns addresses as in the option addr, separated by commas.
func FormatAddrs(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ",")
}

// A Registry holds all clients, as they were at one moment. It does not change, so all
// of its methods are safe for concurrent use.
type Registry struct {
	clients []*Client // in the order of the file
	byKey   map[noise.PublicKey]*Client
	byName  map[string]*Client
	byAddr  map[netip.Addr]*Client
	digest  [32]byte
}

func newRegistry() *Registry {
	return &Registry{
		byKey:  make(map[noise.PublicKey]*Client),
		byName: make(map[string]*Client),
		byAddr: make(map[netip.Addr]*Client),
	}
}

// Digest returns the SHA-256 of the registry's text, to tell one version from another: in
// step 8 the commands wait until the server has read what they wrote.
func (r *Registry) Digest() [32]byte { return r.digest }

// Len returns the number of clients.
func (r *Registry) Len() int { return len(r.clients) }

// All returns the clients in the order of the file.
func (r *Registry) All() iter.Seq[*Client] { return slices.Values(r.clients) }

// ByKey returns the client with this public key. It costs the same however many
// clients there are.
func (r *Registry) ByKey(k noise.PublicKey) (*Client, bool) {
	c, ok := r.byKey[k]
	return c, ok
}

// ByName returns the client of this name, at the same cost as ByKey.
func (r *Registry) ByName(name string) (*Client, bool) {
	c, ok := r.byName[name]
	return c, ok
}
