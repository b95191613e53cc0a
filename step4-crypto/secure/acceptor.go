package secure

import (
	"log/slog"
	"time"
)

// An acceptor answers for a server that has one peer at a time: whoever was the last
// to prove that it has the key. It does no input or output and reads no clock.
//
// Only an initiation whose time is later than that of the one before it makes a session.
// Who has recorded an older one can do nothing with it. At most it is answered, no
// more often than answersPerSecond, by the word that it is too old, which only its
// maker can read: his clock may have gone back.
//
// After a restart of the server an old initiation is news to it, and is answered. That
// leads nowhere: its keys are not used before a packet arrives under them, only its maker
// can seal one, and the genuine client's next initiation is later. The same holds when a
// time is forgotten, which it is when the session that it made has long ended: else
// somebody who has the key, and names the last time there is, would lock out all others
// for good.
//
// It is not safe for concurrent use.
type acceptor struct {
	responder *Responder
	peer      *Peer

	newest  uint64    // the time of the newest initiation that was answered
	at      time.Time // when it came
	second  time.Time // begin of the second that answers counts
	answers int       // that an initiation is too old
	told    time.Time // when the log told of one who is refused last
}

// answer returns the response to an initiation, or nil. Its keys become the next
// ones, in place of any that are waiting there.
func (a *acceptor) answer(m []byte, now time.Time) []byte {
	q, ok := a.responder.Read(m)
	if !ok {
		return nil
	}
	cfg := a.responder.cfg
	if q.Older() {
		if a.told.IsZero() || now.Sub(a.told) >= logOlderAfter {
			slog.Warn("an older version of the client asks for a session: update it")
			a.told = now
		}
		cfg.Drops.Add(BadMessage)
		return nil
	}
	if q.Time() <= a.newest && now.Sub(a.at) < forgetAfter {
		cfg.Drops.Add(Replayed)
		if q.Time() == a.newest || !a.allow(now) {
			return nil
		}
		return q.Behind(a.newest)
	}
	if err := cfg.OnPayload(q.Payload()); err != nil {
		if a.told.IsZero() || now.Sub(a.told) >= logOlderAfter {
			slog.Warn("a client is refused", "error", err)
			a.told = now
		}
		cfg.Drops.Add(BadMessage)
		return nil
	}
	response, err := q.Accept(a.peer, cfg.NewPayload(), now)
	if err != nil {
		cfg.Drops.Add(BadTag)
		return nil
	}
	a.newest, a.at = q.Time(), now
	return response
}

// allow reports whether one more initiation may be told in this second that it is
// too old. Each costs two X25519 operations.
func (a *acceptor) allow(now time.Time) bool {
	if now.Sub(a.second) >= time.Second {
		a.second, a.answers = now, 0
	}
	a.answers++
	return a.answers <= answersPerSecond
}
