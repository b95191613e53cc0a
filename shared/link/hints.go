package link

// Hints are what the fast ends of step 8 tell one another about a burst, past the
// layers in between. Those of steps 2 and 3 neither set nor read them, and the zero
// value is always right.
type Hints struct {
	// Class is the traffic class that the packets have outside of the tunnel: what
	// IPv4 calls type of service, DSCP and ECN (RFC 2474, RFC 3168).
	Class byte

	// DontFragment asks that no router fragments the packets outside of the tunnel:
	// they arrive as they are, or not at all. It is for probes of the path's MTU.
	DontFragment bool

	// More says that the next ReadBurst does not have to wait: who sends on what it
	// reads may keep some back, to send more at a time.
	More bool
}

// Lazy fills an empty burst with n packets, at most MaxBurst, each of which make
// makes when it is asked for first (step 8).
func (b *Burst) Lazy(n int, make func(i int) []byte) {
	b.packets = b.packets[:n]
	clear(b.packets)
	b.make = make
}
