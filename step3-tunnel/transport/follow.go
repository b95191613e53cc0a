package transport

import (
	"log/slog"
	"net/netip"
	"sync/atomic"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/packet"
)

// Follow gives a server's end one peer: the last sender. Anyone who sends one IP
// packet becomes the peer, and receives everything that was meant for the peer before.
// Only proof of who sent a packet could make this safe.
func Follow(conn Conn) Conn { return &follower{Conn: conn} }

type follower struct {
	Conn
	peer atomic.Pointer[netip.AddrPort] // set by ReadBurst, used by WriteBurst
}

func (f *follower) ReadBurst(b *link.Burst) error {
	if err := f.Conn.ReadBurst(b); err != nil {
		return err
	}
	if packet.Check(b.At(0)) != nil {
		return nil // noise; the tunnel counts it
	}
	if old := f.peer.Load(); old == nil || *old != b.Addr {
		from := b.Addr
		f.peer.Store(&from)
		var before netip.AddrPort
		if old == nil {
			slog.Info("first packet from the peer", "peer", from)
		} else {
			before = *old
			slog.Info("the peer has changed", "peer", from, "before", before)
		}
		link.PeerMoved(f.Conn, before, from)
	}
	return nil
}

func (f *follower) WriteBurst(b *link.Burst) error {
	if peer := f.peer.Load(); peer != nil {
		b.Addr = *peer
	}
	return f.Conn.WriteBurst(b)
}
