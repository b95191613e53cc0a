package hub

import (
	"math/rand/v2"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// Second reading, for a chapter after step 8: clients of programs that others have written,
// which know nothing of package protocol. Such a client says nothing about itself, and can't be
// told anything: neither its addresses, nor why it is not let in. So it needs addresses that
// are its own for good, and can't be asked for a password. All of them share the rest with
// other clients: the queue, the index table, the limits, the source check, and how they end.
//
// Two runs of such a program can't be told apart, nor can two machines that have the same key:
// whichever has asked last is the client.

// A Foreign is how an entrance deals with such clients. Its methods are called by one goroutine.
type Foreign interface {
	// Format is that of the sessions.
	Format() *secure.Format
	// Newest returns the time of the newest initiation of a client that Note was told of, or
	// 0. One that is not later is a replay. So it may remember more than the hub, which forgets
	// within minutes, and when it ends.
	Newest(key noise.PublicKey) uint64
	// Note is told the time of each initiation before it is answered, unless the time is far
	// ahead of the server's clock.
	Note(key noise.PublicKey, time uint64)
	// Sign returns a response as it goes to the client that has this key.
	Sign(response []byte, key noise.PublicKey) []byte
}

var (
	loginHere  = secure.Rejected{Reason: "it must give a password, which it can't do in this protocol"}
	nothingOwn = secure.Rejected{Reason: "it has no fixed address in the registry (addr=), and can't be told one in this protocol"}
)

func (e Entrance) format() *secure.Format {
	if e.Foreign == nil {
		return nil
	}
	return e.Foreign.Format()
}

// patience is how long an initiation may wait in the queue. After that, its sender is about to
// ask again, which a foreign client does later than ours; to drop its initiation costs it more.
func (e *entrance) patience() time.Duration {
	if e.Foreign == nil {
		return queueWait
	}
	return max(queueWait, e.Foreign.Format().Retry-time.Second)
}

// mayBeLate reports whether the first packet of a pending client may still come, although it is
// overdue. When that packet gets lost, our clients notice, and ask again. A foreign one takes the
// response for the end of the handshake, and goes on when it has something to send: so its keys
// are kept until they expire. (It can't be pending more than once, and a replay is known as one.)
func (c *client) mayBeLate() bool { return c.by.Load().Foreign != nil && c.peer.Alive() }

// noInstance is that of all foreign clients. No other client knows it.
var noInstance = rand.Uint64()

// hello returns what a client says about itself. It is false if that is not well-formed.
func (e *entrance) hello(r *secure.Request) (protocol.Hello, bool) {
	if e.Foreign != nil {
		return protocol.Hello{Instance: noInstance}, true
	}
	hello, err := protocol.ParseHello(r.Payload())
	return hello, err == nil
}

// unfit returns why a client can't come in by this entrance, or nil. Otherwise the request goes
// on with the pre-shared key of its client.
func (h *Hub) unfit(e *entrance, r *secure.Request, a Account) *secure.Rejected {
	switch {
	case e.Foreign == nil:
		return h.choosePSK(r, a)
	case a.NeedsPassword:
		return &loginHere
	case !a.FixedAddrs:
		return &nothingOwn
	case a.OwnPSK && a.PSK == nil:
		return &lostPSK
	case a.OwnPSK:
		r.SetPSK(a.PSK)
	}
	return nil
}

// newest returns the time that an initiation of a client must exceed, whatever the hub knows.
func (e *entrance) newest(key noise.PublicKey) uint64 {
	if e.Foreign == nil {
		return 0
	}
	return e.Foreign.Newest(key)
}

// sign notes the time of an initiation, and makes the response ready for its client.
func (e *entrance) sign(response []byte, key noise.PublicKey, said asked) []byte {
	if e.Foreign == nil || response == nil {
		return response
	}
	if !said.absurd() {
		e.Foreign.Note(key, said.time)
	}
	return e.Foreign.Sign(response, key)
}

// refusals remembers which refusals of foreign clients are in the log: since these clients are
// not told anything, they ask again and again. Only the goroutine that answers handshakes uses
// it.
type refusals struct {
	logged map[[2]string]struct{} // by the client's name and the reason
	since  time.Time
}

const (
	maxRefusals = 1000
	logAgain    = time.Hour
)

// isNew reports whether a refusal is to be logged.
func (s *refusals) isNew(client, why string, now time.Time) bool {
	if s.logged == nil || now.Sub(s.since) >= logAgain {
		s.logged, s.since = make(map[[2]string]struct{}), now
	}
	key := [2]string{client, why}
	if _, is := s.logged[key]; is || len(s.logged) >= maxRefusals {
		return false
	}
	s.logged[key] = struct{}{}
	return true
}
