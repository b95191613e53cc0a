package secure

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
)

// An initiator is the client's side of handshakes. It does one at a time: it sends an
// initiation and waits for the response. If none comes, it sends another one, with
// fresh keys, and so on until the peer calls done.
//
// It is not safe for concurrent use.
type initiator struct {
	cfg *Config

	active    bool             // new keys are wanted
	tries     int              // initiations sent since begin
	retry     time.Time        // when to send the next one
	handshake *noise.Handshake // of the last initiation, nil once it is answered
	reserved  *keypair         // the keypair that the last initiation asks for
	time      uint64           // in the last initiation

	refused error // the final refusal, if there was one
	unread  bool  // an answer came that could not be decrypted
}

// begin begins a handshake, whose first initiation is due at the given time.
func (i *initiator) begin(at time.Time) {
	i.active, i.tries, i.retry = true, 0, at
}

// done ends the handshake.
func (i *initiator) done() {
	i.active, i.handshake = false, nil
}

// initiate returns the next initiation, which asks for keys with reserved's index.
func (i *initiator) initiate(reserved *keypair, now time.Time) ([]byte, error) {
	payload := i.cfg.NewPayload()
	if len(payload) > MaxPayload {
		return nil, errPayload(payload)
	}
	i.time = i.cfg.Format.nextTime(i.time, now)
	h := i.cfg.handshake.Clone()
	m, err := h.WriteMessage(newInitiation(reserved.local), i.cfg.Format.request(i.time, payload))
	if err != nil {
		return nil, err
	}
	i.handshake, i.reserved = h, reserved
	i.retry = now.Add(i.backOff())
	i.tries++
	slog.Debug("asking for new keys", "try", i.tries)
	return m, nil
}

// backOff returns how long to wait for the response to the next initiation. The time
// varies, so that clients that lost their server at the same moment do not all come
// back at the same moment.
func (i *initiator) backOff() time.Duration {
	if f := i.cfg.Format; f != nil {
		return f.Retry + time.Duration(float64(f.RetryJitter)*i.cfg.limits.jitter())
	}
	wait := maxRetry
	if i.tries < 4 {
		wait = min(firstRetry<<i.tries, maxRetry)
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*i.cfg.limits.jitter()))
}

// finish makes the keypair out of a response to the initiation that asked for
// reserved. A response that does not fit is counted and changes nothing: the
// right one can still come.
func (i *initiator) finish(reserved *keypair, m response, now time.Time) (s *keypair, ok bool) {
	if i.handshake == nil || reserved != i.reserved {
		i.cfg.Drops.Add(UnknownIndex)
		return nil, false
	}
	inside, err := i.handshake.ReadMessage(nil, m.noise)
	if err != nil {
		i.unread = true
		i.cfg.Drops.Add(BadTag)
		return nil, false
	}
	h := i.handshake
	i.handshake = nil
	a, err := i.cfg.Format.parseAnswer(inside)
	switch {
	case err != nil:
	case a.kind == refused:
		i.refused = fmt.Errorf("the server refuses: %w", &a.reason)
		i.begin(now)
		return nil, false
	case a.kind == behind:
		i.time = max(i.time, a.time) // the next initiation will name a later time
		return nil, false
	default:
		err = i.cfg.OnPayload(a.payload)
	}
	if err == nil {
		s, err = newKeypair(h, reserved, m.sender, now)
	}
	if err != nil {
		i.cfg.Drops.Add(BadMessage)
		i.refused = fmt.Errorf("the server's answer is refused: %w", err)
		i.begin(now)
		return nil, false
	}
	return s, true
}

// gaveUp returns why a first connection has failed by now, or nil.
func (i *initiator) gaveUp() error {
	if i.tries < i.cfg.Tries {
		return nil
	}
	if i.unread && i.cfg.handshake.LatePSK() {
		return ErrUnread
	}
	err := fmt.Errorf("no answer from the server after %d tries: it has another key, the address or the port is wrong, it is not running, it is an older version, or a firewall on the way blocks UDP", i.tries)
	return app.Hint(err, "Look at the server's log and counters. If 'bad-tag' increases there, the keys differ or one of the two programs is older; if no counter increases, nothing arrives.")
}

// ErrUnread is in the error of a Client that got an answer, but could not decrypt it. An
// attacker on the way may also have made that answer, so it does not end the attempt: it
// is reported only if no other answer came. And it is only for patterns such as step 8's
// IKpsk2, in which a server answers before it knows that the client has the same
// pre-shared key. The server of this step is silent then.
var ErrUnread = errors.New("the server has answered, but the answer can't be read: the pre-shared key is not the one that the server has for this client")

// unread reports whether there was such an answer.
func (p *Peer) unread() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.initiator.unread && p.cfg.handshake.LatePSK()
}
