// Package link is the contract between the layers of the VPN: runs of whole
// packets. A TUN device is a Link, a socket is a Link, and so is the encrypted
// session wrapped around a socket; a tunnel moves bursts from one to another.
package link

import "net/netip"

// MaxPacket is the size in bytes of the longest packet that any end can carry:
// the largest IPv4 packet (RFC 791, section 3.1).
const MaxPacket = 65535

// MaxBurst is the most packets that one Burst holds.
const MaxBurst = 64

// A Link is one end of a tunnel. One goroutine may read while another writes,
// and Close may be called at any time and more than once.
//
// A Link deals with a passing fault (a full queue, an unreachable host) by
// dropping the packet and counting why. An error from ReadBurst or WriteBurst
// is final; after Close both return an error for which errors.Is(err,
// net.ErrClosed) holds.
type Link interface {
	// ReadBurst replaces the content of b by at least one packet, and blocks
	// until there is one.
	ReadBurst(b *Burst) error
	// WriteBurst sends the packets of b, which it may overwrite.
	WriteBurst(b *Burst) error
	// Close releases the end and unblocks ReadBurst and WriteBurst.
	Close() error
}

// A Burst is a run of whole packets in one reusable buffer. It is not safe for
// concurrent use: each direction of a tunnel owns one.
type Burst struct {
	// Addr is where the burst came from, or is to go. It stays zero on links
	// that have only one other end.
	Addr netip.AddrPort

	packets [][]byte
	buf     []byte
	used    int // bytes of buf taken by Alloc
}

// NewBurst returns an empty Burst with room for one packet of MaxPacket bytes,
// or for up to MaxBurst smaller ones.
func NewBurst() *Burst {
	return &Burst{
		packets: make([][]byte, 0, MaxBurst),
		buf:     make([]byte, MaxPacket),
	}
}

// Reset empties the burst and forgets its address.
func (b *Burst) Reset() {
	b.Addr = netip.AddrPort{}
	b.packets = b.packets[:0]
	b.used = 0
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

// Len returns the number of packets.
func (b *Burst) Len() int { return len(b.packets) }

// At returns packet i. It is valid until the burst is reset, or until a later
// packet is asked for: an end may cut packets out of a larger one on demand, so
// ask for them in order.
func (b *Burst) At(i int) []byte { return b.packets[i] }

// Set replaces packet i, by a part of itself or by another one of the burst. A
// layer that takes off its header, or that drops a packet, does so in place:
// Set the ones that stay, then Truncate.
func (b *Burst) Set(i int, p []byte) { b.packets[i] = p }

// Truncate keeps the first n packets.
func (b *Burst) Truncate(n int) { b.packets = b.packets[:n] }
