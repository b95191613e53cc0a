package secure

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
)

// An initiator is the client's side of handshakes. It does one at a time: it
// sends an initiation and waits for the response, and when none comes it sends
// another, with fresh keys, again and again until the peer calls done.
//
// It is not safe for concurrent use.
type initiator struct {
	cfg *Config

	active    bool             // new keys are wanted
	tries     int              // initiations sent since begin
	retry     time.Time        // when to send the next one
	handshake *noise.Handshake // of the last initiation, nil once it is answered
	local     uint32           // the index that it named

	refused error // what OnPayload said about the server's payload; final
}

// begin makes the first initiation due at a time.
func (i *initiator) begin(at time.Time) {
	i.active, i.tries, i.retry = true, 0, at
}

// done ends the handshake.
func (i *initiator) done() {
	i.active, i.handshake = false, nil
}

// initiate returns the next initiation. local names the session that it asks for.
func (i *initiator) initiate(local uint32, now time.Time) ([]byte, error) {
	h := i.cfg.handshake.Clone()
	m, err := h.WriteMessage(newInitiation(local), i.cfg.NewPayload())
	if err != nil {
		return nil, err
	}
	i.handshake, i.local = h, local
	i.retry = now.Add(i.backOff())
	i.tries++
	slog.Debug("asking for new keys", "try", i.tries)
	return m, nil
}

// backOff returns how long to wait for the response to the next initiation. It
// varies, so that clients which lost their server at the same time do not all
// come back at the same time.
func (i *initiator) backOff() time.Duration {
	wait := maxRetry
	if i.tries < 4 {
		wait = min(firstRetry<<i.tries, maxRetry)
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*i.cfg.limits.jitter()))
}

// finish makes the session out of a response. A response that does not fit is
// counted and changes nothing: the right one can still come.
func (i *initiator) finish(m response, now time.Time) (s *session, ok bool) {
	if i.handshake == nil || m.receiver != i.local {
		i.cfg.Drops.Add(UnknownIndex)
		return nil, false
	}
	payload, err := i.handshake.ReadMessage(nil, m.noise)
	if err != nil {
		i.cfg.Drops.Add(BadTag)
		return nil, false
	}
	h := i.handshake
	i.handshake = nil
	if err := i.cfg.OnPayload(payload); errors.Is(err, ErrAskAgain) {
		return nil, false
	} else if err != nil {
		i.refuse(err, now)
		return nil, false
	}
	s, err = newSession(h, i.local, m.sender, now, i.cfg)
	if err != nil {
		i.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	return s, true
}

// refuse ends all handshakes, for one of the two sides does not want the other.
func (i *initiator) refuse(why error, now time.Time) {
	if rejected, ok := errors.AsType[*Rejected](why); ok {
		i.refused = fmt.Errorf("the server refuses: %w", rejected)
	} else {
		i.refused = fmt.Errorf("the server's answer is refused: %w", why)
		i.cfg.Drops.Add(BadMessage)
	}
	i.begin(now)
}

// gaveUp returns why a first connection has failed by now, or nil.
func (i *initiator) gaveUp() error {
	if i.tries < i.cfg.Tries {
		return nil
	}
	err := fmt.Errorf("no answer from the server after %d tries: it has another key, the address or the port is wrong, it is not running, or a firewall on the way blocks UDP", i.tries)
	return app.Hint(err, "Look at the server's log and counters. If 'bad-tag' counts up there, the keys differ; if nothing does, nothing arrives.")
}
