package pathmtu

import (
	"log/slog"
	"math"
	"net/netip"
	"time"

	"stepvpn/step8-deploy/beside"
)

// A Bound says how long a packet, in bytes, the path to a client carries.
type Bound struct {
	Client netip.Addr
	Size   int
}

// Bounds passes bounds on to a function that makes the host keep to them, without delaying
// packets. It passes on only the latest bound of each address, so a client that keeps
// changing its bound costs little. Its methods are safe for concurrent use.
type Bounds struct {
	*beside.Queue[netip.Addr, int]
}

// handInterval is the shortest time between two calls of that function.
const handInterval = 50 * time.Millisecond

// NewBounds returns Bounds that pass bounds to hand, which may take a while.
func NewBounds(hand func([]Bound) error) Bounds {
	return Bounds{beside.New(handInterval, func(sizes map[netip.Addr]int) {
		var list []Bound
		for a, size := range sizes {
			list = append(list, Bound{a, size})
		}
		if err := hand(list); err != nil {
			slog.Warn("packets can't be made to fit the path to a client", "error", err)
		}
	})}
}

// Set is meant as the argument bound of Control.
func (b Bounds) Set(client []netip.Addr, size int) { b.Put(size, client...) }

// Drop ends the bounds of a client that has left: no size is too long.
func (b Bounds) Drop(client []netip.Addr) { b.Put(math.MaxInt32, client...) }
