// Package status is what a running daemon reports of itself: for people, as JSON, which package
// control serves at a Unix socket, and for Prometheus over HTTP, if an address is set.
//
// Introduced in step 8.
package status

import (
	"net/netip"
	"time"
)

// States are all states that a daemon can be in. Only Up says that packets pass, as far as is
// known.
var States = []string{"connecting", Up, Degraded, "waiting", "stopped"}

// The states that a server can also be in.
const (
	Up       = "up"
	Degraded = "degraded" // it runs, but something does not work
)

// A Report says what a daemon does. Packets and bytes are those of the IP packets
// inside the tunnel.
type Report struct {
	Role    string    `json:"role"` // "server" or "client"
	Version string    `json:"version"`
	Now     time.Time `json:"now"` // when the report was made
	Started time.Time `json:"started"`
	State   string    `json:"state"`            // a word: see States
	Reason  string    `json:"reason,omitempty"` // why it is not up, in one line
	Cure    string    `json:"cure,omitempty"`   // what to do about that
	Device  string    `json:"device"`
	MTU     int       `json:"mtu"` // bytes

	Listen   []string `json:"listen,omitempty"`   // "udp ADDRESS:PORT", "tcp ADDRESS:PORT": the addresses that it listens on
	Registry string   `json:"registry,omitempty"` // of a server: the digest of the registry in force, see identity.Registry.Digest

	NextKey   string `json:"next_key,omitempty"`  // of a server: the public key that it is changing to
	WireGuard string `json:"wireguard,omitempty"` // of a server: its public key for clients of that protocol; "": they may not come in

	KillSwitch string `json:"kill_switch,omitempty"` // of a client: "closed", "paused" or "off"

	// NotLocal lists networks with a route of their own that go into the tunnel nevertheless,
	// each with the reason.
	NotLocal []string `json:"not_local,omitempty"`

	// Notes are about the host, a sentence each: which of its traffic does not go through the
	// tunnel, or what can't be reached because of it.
	Notes []string `json:"notes,omitempty"`

	Peers []Peer            `json:"peers"`
	Drops map[string]uint64 `json:"drops"` // packets, by reason
}

// A Peer is one client of a server, or a server of a client.
type Peer struct {
	Name      string         `json:"name"`
	Addresses []netip.Addr   `json:"addresses"`          // in the tunnel
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`  // where its last message came from
	Since     time.Time      `json:"since,omitzero"`     // when it connected
	Handshake time.Time      `json:"handshake,omitzero"` // when the current keys came into use
	NextKey   bool           `json:"next_key,omitempty"` // it does without the server's old key: it uses the next one, or another protocol's
	Protocol  string         `json:"protocol,omitempty"` // "WireGuard", or "": our own
	Shared    bool           `json:"shared,omitempty"`   // of a server: two devices seem to use its key

	// Of a server:
	LimitDown int64  `json:"limit_down,omitempty"` // bits per second to the client; 0: no limit
	LimitUp   int64  `json:"limit_up,omitempty"`   // from it
	Quota     *Quota `json:"quota,omitempty"`

	// Of a client of the WireGuard protocol, which may have several servers:
	AllowedIPs []netip.Prefix `json:"allowed_ips,omitempty"` // the addresses in the tunnel that this one has
	State      string         `json:"state,omitempty"`       // a word: see States
	Reason     string         `json:"reason,omitempty"`      // why it is not up, in one line

	Sent     Flow `json:"sent"`
	Received Flow `json:"received"`
}

// A Quota is what a client may use in a month, and has used.
type Quota struct {
	Bytes uint64    `json:"bytes"`
	Used  uint64    `json:"used"`
	Anew  time.Time `json:"anew"`           // when it begins anew
	Over  bool      `json:"over,omitempty"` // it is used up
	Slow  int64     `json:"slow,omitempty"` // bits per second in each direction that are left then; 0: nothing
}

// Connected returns how many peers have a session. (A client of the WireGuard protocol reports
// the others as well.)
func (r *Report) Connected() (n int) {
	for _, p := range r.Peers {
		if p.State == "" || !p.Since.IsZero() {
			n++
		}
	}
	return n
}

// A Flow counts the packets of one direction.
type Flow struct {
	Packets uint64  `json:"packets"`
	Bytes   uint64  `json:"bytes"`
	Rate    float64 `json:"bytes_per_second"` // see Rates
}

// Rates fills in the rates of r, from the difference to an earlier report of the same daemon.
// A peer that was not there, or has reconnected since, gets none.
func (r *Report) Rates(earlier *Report) {
	seconds := r.Now.Sub(earlier.Now).Seconds()
	if seconds <= 0 {
		return
	}
	before := make(map[string]Peer, len(earlier.Peers))
	for _, p := range earlier.Peers {
		before[p.Name] = p
	}
	for i := range r.Peers {
		p := &r.Peers[i]
		old, known := before[p.Name]
		if !known || !old.Since.Equal(p.Since) {
			continue
		}
		p.Sent.rate(old.Sent, seconds)
		p.Received.rate(old.Received, seconds)
	}
}

func (f *Flow) rate(old Flow, seconds float64) {
	if f.Bytes >= old.Bytes {
		f.Rate = float64(f.Bytes-old.Bytes) / seconds
	}
}
