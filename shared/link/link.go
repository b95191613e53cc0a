// Package link is the contract between the layers of the VPN: runs of whole
// packets. A TUN device is a Link, a socket is a Link, and so is the encrypted
// session wrapped around a socket; a tunnel moves bursts from one to another. Until step 7
// a burst that was read has one packet; the ends of step 8 move many per system call.
package link

// MaxPacket is the size in bytes of the longest packet that an end can carry: the
// largest IPv4 packet (RFC 791, section 3.1).
const MaxPacket = 65535

// MaxBurst is the most packets that one Burst holds.
const MaxBurst = 64

// A Link is one end of a tunnel. One goroutine may read while another writes,
// and Close may be called at any time and more than once.
//
// A Link handles a temporary fault (a full queue, an unreachable host) by dropping the
// packet and counting the reason. An error from ReadBurst or WriteBurst is final; after
// Close, both return an error for which errors.Is(err, net.ErrClosed) holds.
type Link interface {
	// ReadBurst replaces the content of b by at least one packet, and blocks
	// until there is one.
	ReadBurst(b *Burst) error
	// WriteBurst sends the packets of b, which it may overwrite.
	WriteBurst(b *Burst) error
	// Close releases the end and unblocks ReadBurst and WriteBurst.
	Close() error
}
