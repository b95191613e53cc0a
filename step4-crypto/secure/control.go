package secure

import (
	"context"
	"errors"
	"time"

	"stepvpn/shared/link"
)

// A control message is what one side has to say to the other in the session
// itself. It begins with a zero byte, which no IP packet does, and the second
// byte, its kind, says what it means:
//
//	close   0 1 | end | reason
//
// The rest of a close may be missing. Kinds from FirstKind on belong to the
// packages above this one: Config.OnControl gets them.
const kindClose = 1

// FirstKind is the first kind of control message that others may use.
const FirstKind = 2

// MaxReason is the most bytes that a reason has.
const MaxReason = 200

// IsControl reports whether the content of a data message is a control message.
func IsControl(plaintext []byte) bool {
	return len(plaintext) >= 2 && plaintext[0] == 0 && plaintext[1] != 0
}

// A Rejected error is the word of the other side that it does not talk to this
// one, or no longer.
type Rejected struct {
	Reason string // a sentence of the other side: one line of printable ASCII
	Final  bool   // asking again is of no use until somebody has changed something
}

func (r *Rejected) Error() string { return r.Reason }

// closeMessage says that the session ends, and no more than that.
var closeMessage = []byte{0, kindClose}

// appendClose appends a close message with a reason to dst.
func appendClose(dst []byte, r Rejected) []byte {
	dst = append(dst, 0, kindClose, 0)
	if r.Final {
		dst[len(dst)-1] = 1
	}
	return append(dst, r.Reason...)
}

// parseClose returns the reason of a close message. It is empty if there is none.
func parseClose(m []byte) (r Rejected, ok bool) {
	if len(m) < 2 || m[0] != 0 || m[1] != kindClose {
		return r, false
	}
	if len(m) == 2 {
		return r, true
	}
	r = Rejected{Reason: string(m[3:]), Final: m[2] == 1}
	return r, m[2] <= 1 && PlainText(r.Reason)
}

// PlainText reports whether s can be shown to people though a stranger wrote it:
// 1 to MaxReason bytes of printable ASCII. So it has no line breaks, and nothing
// that a terminal obeys.
func PlainText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= MaxReason
}

// control hands a control message to who wants it.
func (c *Conn) control(m []byte) {
	if c.peer.cfg.OnControl == nil {
		c.drops.Add(link.Malformed)
		return
	}
	if err := c.peer.cfg.OnControl(m[1], m[2:]); err != nil {
		c.end(err)
	}
}

// Control sends a control message of a kind from FirstKind on. Like any other
// packet it may get lost.
func (c *Conn) Control(kind byte, content []byte) error { return c.say(kind, content, false) }

// Probe is Control for a message that no router may cut up, if the Link below can
// ask for that: it arrives only if the path carries its length. The sealed message
// has 2 + Overhead bytes more than content.
func (c *Conn) Probe(kind byte, content []byte) error { return c.say(kind, content, true) }

func (c *Conn) say(kind byte, content []byte, whole bool) error {
	if kind < FirstKind {
		return errControl
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	s, to := c.peer.sending(time.Now())
	if s == nil {
		c.drops.Add(NoSession)
		return nil
	}
	if m, ok := s.seal(nil, append([]byte{0, kind}, content...)); ok {
		return c.send(m, to, whole)
	}
	return nil
}

var errControl = errors.New("secure: not a control message that others may send")
