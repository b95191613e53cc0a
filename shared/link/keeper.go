package link

import "net/netip"

// A PeerKeeper is a Link with connections of its own, more of which are asked for than
// it can keep. Who has a session with a peer tells it whose to keep.
type PeerKeeper interface {
	// PeerMoved says that a peer who has proven who it is was at the address before,
	// and is now at another. Each may be zero: it has come, or it has gone. It does
	// not block, and may be called at any time.
	PeerMoved(before, now netip.AddrPort)
}

// PeerMoved tells a Link so, if it is a PeerKeeper. It is for who wraps one.
func PeerMoved(l Link, before, now netip.AddrPort) {
	if k, ok := l.(PeerKeeper); ok {
		k.PeerMoved(before, now)
	}
}
