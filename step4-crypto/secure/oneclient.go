package secure

import (
	"log/slog"
	"time"
)

// A oneClient is what a server of one client at a time knows: it decides which of the
// initiations that its Responder has authenticated get a session. The last client to have
// proved that it has the key takes the place of the one before. A oneClient uses no
// socket and reads no clock. (In step 7, the hub decides.)
//
// An initiation makes a session only if its time is later than that of the initiation
// before. So an attacker who has recorded an older one can do nothing with it. The only
// answer to an older one, at most answersPerSecond times a second, is that it is too
// old. Only the client that made it can read this answer: its clock may have gone back.
//
// A server that has restarted does not know the times before, so it answers an old
// initiation. That does no harm: the new keys are not used until a packet arrives under
// them, only the client that made the initiation can seal one, and the genuine client's
// next initiation is later. The same holds when a time is forgotten, long after the
// session that it made has ended. If it were never forgotten, somebody who has the key
// could lock out all others for good by naming the last possible time.
//
// It is not safe for concurrent use.
type oneClient struct {
	responder *Responder
	peer      *Peer

	newest  uint64    // the time of the newest initiation that was answered
	at      time.Time // when it came
	second  time.Time // start of the second that answers counts for
	answers int       // how many initiations have been told that they are too old
	told    time.Time // when a refused client was last logged
}

// answer returns the response to an initiation, or nil. The new keys take the slot
// "next", in place of any that are waiting there.
func (o *oneClient) answer(m []byte, now time.Time) []byte {
	q, ok := o.responder.Read(m)
	if !ok {
		return nil
	}
	cfg := o.responder.cfg
	if q.Older() {
		if o.told.IsZero() || now.Sub(o.told) >= logOlderAfter {
			slog.Warn("an older version of the client asks for a session: update it")
			o.told = now
		}
		cfg.Drops.Add(BadMessage)
		return nil
	}
	if q.Time() <= o.newest && now.Sub(o.at) < forgetAfter {
		cfg.Drops.Add(Replayed)
		if q.Time() == o.newest || !o.allow(now) {
			return nil
		}
		return q.Behind(o.newest)
	}
	if err := cfg.OnPayload(q.Payload()); err != nil {
		if o.told.IsZero() || now.Sub(o.told) >= logOlderAfter {
			slog.Warn("a client is refused", "error", err)
			o.told = now
		}
		cfg.Drops.Add(BadMessage)
		return nil
	}
	response, err := q.Accept(o.peer, cfg.NewPayload(), now)
	if err != nil {
		cfg.Drops.Add(BadTag)
		return nil
	}
	o.newest, o.at = q.Time(), now
	return response
}

// allow reports whether one more answer "too old" may be sent in this second. Each
// costs two X25519 operations.
func (o *oneClient) allow(now time.Time) bool {
	if now.Sub(o.second) >= time.Second {
		o.second, o.answers = now, 0
	}
	o.answers++
	return o.answers <= answersPerSecond
}
