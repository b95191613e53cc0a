package limits

import (
	"log/slog"
	"sync"
	"time"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// KindNotice is the kind of the control message by which a server tells a client something that
// does not end the session: a sentence, see secure.PlainText, or nothing if there is nothing to
// say any more. It is repeated, as a message may get lost.
const KindNotice = protocol.FirstKind + 16

const (
	sayEvery  = 10 * time.Second
	forgetSay = 3*sayEvery + 5*time.Second
)

// A Notice is what the server of a client has last said. The zero value is ready, and it is safe
// for concurrent use.
type Notice struct {
	mu   sync.Mutex // guards all below
	text string
	at   time.Time
}

// Control takes a control message. It reports false if that is not a notice. What is not a
// sentence is ignored.
func (n *Notice) Control(kind byte, content []byte) bool {
	if kind != KindNotice {
		return false
	}
	text := string(content)
	if len(content) != 0 && !secure.PlainText(text) {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != "" && text != n.text {
		slog.Warn("the server says: " + text)
	}
	n.text, n.at = text, time.Now()
	return true
}

// String returns the sentence, or "" if the server has not said one lately.
func (n *Notice) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.at) > forgetSay {
		return ""
	}
	return n.text
}
