package link

import "net/netip"

// A Burst is a run of whole packets in one reusable buffer. It is not safe for
// concurrent use: each direction of a tunnel owns one.
type Burst struct {
	// Addr is the address that the burst came from or must go to. It stays zero on
	// links that have only one other end.
	Addr netip.AddrPort

	Hints Hints // messages between the fast ends of step 8; a layer in between passes them on

	packets [][]byte
	buf     []byte
	used    int                // bytes of buf taken by Alloc
	make    func(i int) []byte // makes the packets that are nil; see Lazy
}

// NewBurst returns an empty Burst with room for one packet of MaxPacket bytes,
// or for up to MaxBurst smaller ones.
func NewBurst() *Burst {
	return &Burst{
		packets: make([][]byte, 0, MaxBurst),
		buf:     make([]byte, MaxPacket),
	}
}

// Reset empties the burst and clears everything that it says about its packets.
func (b *Burst) Reset() {
	b.Addr, b.Hints = netip.AddrPort{}, Hints{}
	b.packets = b.packets[:0]
	b.used = 0
	b.make = nil
}

// Free returns the unused part of the buffer, for an end to receive into. Alloc then
// claims the bytes that were received.
func (b *Burst) Free() []byte { return b.buf[b.used:] }

// Alloc appends a packet that consists of the first n bytes of Free, and returns it, to be
// filled in. It returns nil if the burst is full.
func (b *Burst) Alloc(n int) []byte {
	if len(b.packets) == cap(b.packets) || n > len(b.buf)-b.used {
		return nil
	}
	p := b.buf[b.used : b.used+n : b.used+n]
	b.used += n
	b.packets = append(b.packets, p)
	return p
}

// Len returns the number of packets.
func (b *Burst) Len() int { return len(b.packets) }

// At returns packet i. Ask for packets in order: each may be stored in the same memory as
// the one before, so it is valid only until the next one is asked for, or until Reset.
func (b *Burst) At(i int) []byte {
	if b.packets[i] == nil && b.make != nil {
		b.packets[i] = b.make(i)
	}
	return b.packets[i]
}

// Set replaces packet i by a part of itself or by another packet of the burst. A layer
// that removes its header, or that drops a packet, does so in place: it calls Set for the
// packets that remain, then Truncate. It must have called At(i) before.
func (b *Burst) Set(i int, p []byte) { b.packets[i] = p }

// Truncate keeps the first n packets.
func (b *Burst) Truncate(n int) { b.packets = b.packets[:n] }
