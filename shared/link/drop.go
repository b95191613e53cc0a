package link

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// A Reason says why a packet was dropped. The list is closed: a packet that
// goes missing in the tunnel is counted under exactly one of these.
type Reason uint8

const (
	Malformed    Reason = iota // not a whole IPv4 or IPv6 packet of the length that it claims
	NoPeer                     // there is nobody to send to yet, or the connection is down
	Unreachable                // the network refused it: no route, nobody listens on the port
	QueueFull                  // the sending queue of the host was full
	TooBig                     // longer than the link can carry
	BadMessage                 // not a message of the tunnel: unknown type, impossible length
	UnknownIndex               // for a session that does not exist (any more)
	BadTag                     // did not decrypt: altered, or sealed under another key
	Replayed                   // seen before, or too old to tell
	NoSession                  // there are no keys yet, or they have expired
	BadMAC                     // asks for a handshake, and its sender does not know the server's public key
	Throttled                  // asks for a handshake, and its sender does so too often
	Spoofed                    // a client's packet with a source address that is not its own
	NoClient                   // to an address of the tunnel's network that no client has
	ToClient                   // from one client to another, which is not allowed
	Looped                     // came through the tunnel that it is a message of
	Multicast                  // to many at once: multicast or broadcast
	NotLoggedIn                // from or to a client that has not given its password yet
	Refused                    // an initiation by a client that the server does not let in
	UnderLoad                  // an initiation or a login, while there are too many of them
	Congested                  // the network on the way marked it as too much, and its sender does not know such marks
	reasons
)

var reasonNames = [reasons]string{
	Malformed:    "malformed",
	NoPeer:       "no-peer",
	Unreachable:  "unreachable",
	QueueFull:    "queue-full",
	TooBig:       "too-big",
	BadMessage:   "bad-message",
	UnknownIndex: "unknown-index",
	BadTag:       "bad-tag",
	Replayed:     "replayed",
	NoSession:    "no-session",
	BadMAC:       "bad-mac",
	Throttled:    "throttled",
	Spoofed:      "spoofed",
	NoClient:     "no-client",
	ToClient:     "to-client",
	Looped:       "looped",
	Multicast:    "multicast",
	NotLoggedIn:  "not-logged-in",
	Refused:      "refused",
	UnderLoad:    "under-load",
	Congested:    "congested",
}

// String returns the name that logs and counters show.
func (r Reason) String() string { return reasonNames[r] }

// Drops counts dropped packets by reason. The zero value is ready, and it is
// safe for concurrent use.
type Drops struct {
	n [reasons]atomic.Uint64
}

// Add counts one packet.
func (d *Drops) Add(r Reason) { d.n[r].Add(1) }

// Count returns how many packets were dropped for r.
func (d *Drops) Count(r Reason) uint64 { return d.n[r].Load() }

// Counts returns how many packets were dropped, for each reason's name. Reasons that
// did not occur are there, with 0.
func (d *Drops) Counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for r := range reasons {
		counts[r.String()] = d.Count(r)
	}
	return counts
}

// String lists the reasons that occurred, such as "bad-tag 3, replayed 1", or
// says "none".
func (d *Drops) String() string {
	var parts []string
	for r := range reasons {
		if n := d.Count(r); n > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", r, n))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
