// Package secure carries packets through an encrypted session: a Link around a
// Link. Introduced in step 4.
//
// Two sides agree on keys by a Noise handshake (package noise): the client asks and the
// server answers. Then every packet is sealed: encrypted, authenticated and numbered.
// Where it fits, the design is WireGuard's (J. Donenfeld, "WireGuard: Next Generation
// Kernel Network Tunnel", NDSS 2017).
//
// # From a socket to a session
//
// Client makes a Conn around the socket, with a goroutine of its own, and a Peer, which
// stands for the server. Then it reads from the socket until there are keys in use:
//
//	client  the Conn's goroutine calls Peer.Tick, gets an initiation (initiator.initiate),
//	        and sends it; it does so again and again until an answer comes
//	server  Conn.read gives the message to Opener.Open, which finds an initiation;
//	        oneClient.answer has Responder.Read decrypt it, refuses one that may be a
//	        copy, and Request.Accept makes the keys and the response
//	client  Opener.Open finds a response: initiator.finish makes the same keys, and a
//	        keepalive is sealed under them, the first packet of the session
//	server  Opener.Open opens it (keypair.open): the client has the keys, so they are put
//	        into use (Peer.confirm), and another keepalive is the answer
//	client  opens that, puts the keys into use as well, and Client returns
//
// From then on WriteBurst seals packets under these keys (keypair.seal), and ReadBurst
// opens what comes.
//
// # Files
//
//	message.go           the three kinds of messages, byte by byte
//	datacontent.go       what is in a data message: a packet, or a control message
//	handshakecontent.go  what is in an initiation and in a response
//	window.go            which packets have been seen before
//	keys.go              seal and open packets; how new keys come into use
//	table.go             which keys a message is for
//	initiator.go         the client's side of a handshake
//	responder.go         the server's side: it authenticates an initiation, and answers
//	oneclient.go         which initiations get a session, on a server of one client
//	peer.go              the other side: its keys and its address
//	timers.go            what a peer does by itself: rekeying, keepalives, expiry
//	seal.go, opener.go   seal packets; open messages, whatever they are
//	conn.go              the Link: one peer, and a socket
//	config.go, limits.go what the caller may set, and all times and sizes
//	rejected.go          why one side refuses or ends a session, as a sentence
//	drops.go             the reasons why messages are dropped
//
//	older.go             clients that have not been updated yet
//
// Four are for later: psk.go (clients with a pre-shared key of their own), probe.go
// (messages whose length matters), run.go (a burst for several servers) and format.go
// (programs that others have written). So are most exported names: in step 7 the hub
// (package hub) stands in the place of Conn and oneClient, and has many peers on one socket.
//
// Only secure.go, conn.go and probe.go use a socket or a clock. To all others, messages and
// the time are passed as arguments (but they log, and draw random numbers).
package secure

import (
	"context"
	"fmt"

	"stepvpn/shared/link"
)

// Client connects to the server at the other end of lower, and returns when packets
// can pass in both directions. It fails when ctx ends, when cfg.Tries initiations have
// got no answer, or when the server refuses. Once connected, the Conn does not fail for
// lack of an answer: it tries to get the session back until it is closed.
//
// The Conn owns lower and closes it; if Client fails, it has closed lower.
func Client(ctx context.Context, lower link.Link, cfg Config) (*Conn, error) {
	c, err := start(lower, cfg, true) // makes the Conn and its Peer, and starts the goroutine
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		c.end(context.Cause(ctx))
		c.Close()
	})
	// Since is when the keys came into use; it is zero while there are none.
	if err := c.ReadUntil(func() bool { return !c.Status().Since.IsZero() }); err != nil {
		stop()
		c.Close()
		if c.peer.unread() && ctx.Err() != nil { // for step 8: see ErrUnread
			err = fmt.Errorf("%w (%w)", ErrUnread, err)
		}
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if !stop() {
		c.Close()
		return nil, fmt.Errorf("connecting: %w", context.Cause(ctx))
	}
	return c, nil
}

// Server waits for a client at the other end of lower. It returns at once, and
// packets written before a client has come are dropped. There is one client at a
// time; another one that has the key takes its place.
//
// The Conn owns lower and closes it; if Server fails, it has closed lower.
func Server(lower link.Link, cfg Config) (*Conn, error) {
	return start(lower, cfg, false)
}
