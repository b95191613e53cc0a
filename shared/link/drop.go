package link

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// A Reason says why a packet was dropped: each packet that is lost in the tunnel is counted
// under exactly one reason. Each layer has its own reasons, made by NewReason.
type Reason uint8

// maxReasons bounds how many reasons a program has.
const maxReasons = 48

// These variables are set while a program's packages are initialized, and never later.
var (
	reasonNames [maxReasons]string
	reasons     Reason // how many there are
)

// NewReason makes a reason of a layer; logs and counters show its name. Use it only to
// initialize package variables. It panics if there are too many reasons, or if the name is
// taken.
func NewReason(name string) Reason {
	if reasons == maxReasons || slices.Contains(reasonNames[:reasons], name) {
		panic("link: one reason too many: " + name)
	}
	reasonNames[reasons] = name
	reasons++
	return reasons - 1
}

// Reasons returns the names of all reasons that this program has.
func Reasons() []string { return slices.Clone(reasonNames[:reasons]) }

// Reasons of every end of a tunnel.
var (
	Malformed   = NewReason("malformed")   // not a whole IPv4 or IPv6 packet of the length that it states
	NoPeer      = NewReason("no-peer")     // there is no peer to send to yet, or the connection is down
	Unreachable = NewReason("unreachable") // the network refused it: no route, or no program listens on the port
	QueueFull   = NewReason("queue-full")  // the sending queue of the host was full
	TooBig      = NewReason("too-big")     // longer than the link can carry
)

// String returns the name that logs and counters show.
func (r Reason) String() string { return reasonNames[r] }

// Drops counts dropped packets by reason. The zero value is ready, and it is
// safe for concurrent use.
type Drops struct {
	n [maxReasons]atomic.Uint64
}

// Add counts one packet.
func (d *Drops) Add(r Reason) { d.n[r].Add(1) }

// Count returns how many packets were dropped for r.
func (d *Drops) Count(r Reason) uint64 { return d.n[r].Load() }

// Counts returns how many packets were dropped for each reason, by name. It includes
// reasons that did not occur, with 0.
func (d *Drops) Counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for r := range reasons {
		counts[r.String()] = d.Count(r)
	}
	return counts
}

// String lists the reasons that occurred, such as "bad-tag 3, replayed 1", or returns
// "none".
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
