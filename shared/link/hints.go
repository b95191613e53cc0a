package link

// Hints are what the fast ends of step 8 tell one another about a burst, past the layers
// in between. The ends of steps 2 and 3 neither set nor read them. The zero value is always
// correct.
type Hints struct {
	// Class is the traffic class that the packets have outside of the tunnel: what
	// IPv4 calls type of service, DSCP and ECN (RFC 2474, RFC 3168).
	Class byte

	// DontFragment asks that no router fragment the packets outside of the tunnel:
	// they arrive whole, or not at all. It is for probes of the path's MTU.
	DontFragment bool

	// More says that the next ReadBurst does not have to wait: a caller that forwards
	// what it reads may hold packets back, to send more at a time.
	More bool
}

// Lazy fills an empty burst with n packets, at most MaxBurst. At calls make for each of
// them the first time that it is asked for. make may reuse the memory of the packet that it
// made before. It is for the TUN device of step 8.
func (b *Burst) Lazy(n int, make func(i int) []byte) {
	b.packets = b.packets[:n]
	clear(b.packets)
	b.make = make
}
