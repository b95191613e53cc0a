package link

import "net/netip"

// A Burst is a run of whole packets in one reusable buffer. It is not safe for
// concurrent use: each direction of a tunnel owns one.
type Burst struct {
	// Addr is where the burst came from, or is to go. It stays zero on links
	// that have only one other end.
	Addr netip.AddrPort

	// Class is the traffic class that the packets have outside of the tunnel:
	// what IPv4 calls type of service, DSCP and ECN (RFC 2474, RFC 3168). A
	// layer in between hands it on. Simple ends ignore it, and 0 is always right.
	Class byte

	// Whole asks that no router cuts the packets up outside of the tunnel: they
	// arrive as they are, or not at all. It is for probes of the path. Simple ends
	// ignore it.
	Whole bool

	// More says that the next ReadBurst does not have to wait: who sends on what it
	// reads may keep some back, to send more at a time. Simple ends never say so.
	More bool

	packets [][]byte
	buf     []byte
	used    int // bytes of buf taken by Alloc

	// Packets from next on do not exist yet: cut makes them. It is nil for a
	// burst that has them all.
	cut   func(i int) []byte
	next  int
	uncut int // bytes in these packets
}

// NewBurst returns an empty Burst with room for one packet of MaxPacket bytes,
// or for up to MaxBurst smaller ones.
func NewBurst() *Burst {
	return &Burst{
		packets: make([][]byte, 0, MaxBurst),
		buf:     make([]byte, MaxPacket),
	}
}

// Reset empties the burst and forgets all that it says of its packets.
func (b *Burst) Reset() {
	b.Addr, b.Class, b.Whole, b.More = netip.AddrPort{}, 0, false, false
	b.packets = b.packets[:0]
	b.used = 0
	b.cut = nil
}

// Free returns the unused rest of the buffer, for an end to receive into.
// Alloc then claims what arrived.
func (b *Burst) Free() []byte { return b.buf[b.used:] }

// Alloc appends a packet of n bytes from the start of Free and returns it to be
// filled in, or nil when the burst is full.
func (b *Burst) Alloc(n int) []byte {
	if len(b.packets) == cap(b.packets) || n > len(b.buf)-b.used {
		return nil
	}
	p := b.buf[b.used : b.used+n : b.used+n]
	b.used += n
	b.packets = append(b.packets, p)
	return p
}

// Cut fills an empty burst with n packets, at most MaxBurst, of size bytes in
// all, which do not exist yet: cut makes packet i when it is asked for, once,
// and in order. It may write over the packets before i. That is how an end
// hands on what the kernel gave it as one large packet.
func (b *Burst) Cut(n, size int, cut func(i int) []byte) {
	b.packets = b.packets[:n]
	b.cut, b.next, b.uncut = cut, 0, size
}

// Stable tells whether the packets stay what they are until the burst is reset.
// If not, then each only stays until the next is asked for.
func (b *Burst) Stable() bool { return b.cut == nil }

// Len returns the number of packets.
func (b *Burst) Len() int { return len(b.packets) }

// Size returns the number of bytes in all packets together. Unlike a loop over
// At it leaves the packets as they are.
func (b *Burst) Size() int {
	n, made := 0, b.packets
	if b.cut != nil {
		n, made = b.uncut, b.packets[:b.next]
	}
	for _, p := range made {
		n += len(p)
	}
	return n
}

// At returns packet i. It is valid until the burst is reset, or until a later
// packet is asked for: an end may cut packets out of a larger one on demand, so
// ask for them in order.
func (b *Burst) At(i int) []byte {
	if b.cut != nil {
		b.cutUpTo(i)
	}
	return b.packets[i]
}

// cutUpTo makes the packets up to i.
func (b *Burst) cutUpTo(i int) {
	for ; b.next <= i; b.next++ {
		p := b.cut(b.next)
		b.packets[b.next] = p
		b.uncut -= len(p)
	}
}

// Set replaces packet i, by a part of itself or by another one of the burst. A
// layer that takes off its header, or that drops a packet, does so in place:
// Set the ones that stay, then Truncate. It has asked for packet i before.
func (b *Burst) Set(i int, p []byte) { b.packets[i] = p }

// Truncate keeps the first n packets.
func (b *Burst) Truncate(n int) {
	if b.cut != nil {
		b.cutUpTo(len(b.packets) - 1)
		b.next = n
	}
	b.packets = b.packets[:n]
}
