package link

import "net/netip"

// A PeerKeeper is a Link with connections of its own, of which it can keep only some, such
// as a server's end over TCP. The layer above, which knows the peers, tells it which
// connections to keep.
type PeerKeeper interface {
	// PeerMoved says that a peer was at one address before and is at another now. before
	// is zero for a new peer, and now is zero for one that has gone. From step 4 on, only
	// a peer that has proved its identity counts; in step 3 it is the last sender. It does
	// not block, and may be called at any time.
	PeerMoved(before, now netip.AddrPort)
}

// PeerMoved calls the method of a Link, if it is a PeerKeeper. It is for layers that wrap
// a Link.
func PeerMoved(l Link, before, now netip.AddrPort) {
	if k, ok := l.(PeerKeeper); ok {
		k.PeerMoved(before, now)
	}
}
