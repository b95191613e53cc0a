package link

import "net/netip"

// A Burst is a run of whole packets in one reusable buffer. It is not safe for
// concurrent use: each direction of a tunnel owns one.
type Burst struct {
	// Addr is the address that the burst came from or must go to. It stays zero on
	// links that have only one other end.
	Addr netip.AddrPort

	Hints Hints // what the fast ends of step 8 tell each other; a layer in between copies it

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

// At returns packet i. What a socket has received stays valid until Reset. The packets of
// step 8's TUN device, which are made by Lazy, may all be stored in the same memory: ask for
// them in order, and use each before asking for the next. After that, only their lengths
// are right: so the tunnel may count them after it has sent them, but not before.
func (b *Burst) At(i int) []byte {
	if b.packets[i] == nil && b.make != nil {
		b.packets[i] = b.make(i)
	}
	return b.packets[i]
}

// Set replaces packet i by a part of itself or by another packet of the burst. A layer
// that removes its header from what it has received, or drops a packet, does so in place:
// it calls At for each packet, Set for those that remain, then Truncate.
func (b *Burst) Set(i int, p []byte) { b.packets[i] = p }

// Truncate keeps the first n packets.
func (b *Burst) Truncate(n int) { b.packets = b.packets[:n] }

// Swap exchanges what two bursts hold, their buffers included. So one goroutine hands a burst
// to another without copying its packets.
func (b *Burst) Swap(other *Burst) { *b, *other = *other, *b }
