package tunnel

import (
	"fmt"
	"sync/atomic"

	"stepvpn/shared/link"
)

// Counters count what went through a tunnel. The zero value is ready to use, and they
// are safe for concurrent use.
type Counters struct {
	Sent     Flow // from the device to the other side
	Received Flow // from the other side, whole IP packets only
	Drops    link.Drops
}

// String gives all counters in one line.
func (c *Counters) String() string {
	return fmt.Sprintf("sent %v; received %v; dropped: %v", &c.Sent, &c.Received, &c.Drops)
}

// A Flow counts the IP packets of one direction, and their bytes.
type Flow struct {
	packets, bytes atomic.Uint64
}

// Packets returns the number of packets so far. Like Bytes it is for the status of step 8.
func (f *Flow) Packets() uint64 { return f.packets.Load() }

// Bytes returns the bytes of these packets, IP headers included.
func (f *Flow) Bytes() uint64 { return f.bytes.Load() }

// String gives both, such as "3 packets (252 bytes)".
func (f *Flow) String() string {
	return fmt.Sprintf("%d packets (%d bytes)", f.Packets(), f.Bytes())
}

func (f *Flow) add(b *link.Burst) {
	bytes := 0
	for i := range b.Len() {
		bytes += len(b.At(i))
	}
	f.Add(b.Len(), bytes)
}

// Add counts a number of packets and the sum of their lengths in bytes. It is exported for
// the server of step 7, which has a loop of its own and does not call Run.
func (f *Flow) Add(packets, bytes int) {
	f.packets.Add(uint64(packets))
	f.bytes.Add(uint64(bytes))
}
