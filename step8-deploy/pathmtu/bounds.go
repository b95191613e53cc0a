package pathmtu

import (
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step8-deploy/beside"
)

// A Bound says how long a packet the path to a client carries.
type Bound struct {
	Client netip.Addr
	Size   int
}

// Bounds hands bounds on beside the packets' way, to who has the host keep to them: of each
// address the last, so a client that keeps changing its mind costs little. Its methods may
// be called from any goroutine.
type Bounds struct {
	*beside.Queue[netip.Addr, int]
}

// handInterval is how often they are handed on at most.
const handInterval = 50 * time.Millisecond

// NewBounds returns Bounds that calls hand, which may take a while.
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

// Set is for Control.
func (b Bounds) Set(client []netip.Addr, size int) { b.Put(size, client...) }
