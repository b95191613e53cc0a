package secure

import (
	"errors"
	"time"

	"stepvpn/step4-crypto/noise"
)

// Second reading, for a chapter after step 8: sessions with programs that others have written.
// What such a program needs to be different is a parameter, a Format. Everything else stays:
// types, headers and indexes of the messages, the window, how keys come into use and get old.

// A Format says what is different in sessions with programs that know nothing of this package.
// nil stands for this package's own format. In a session that has a Format:
//
//   - An initiation carries the time, as the Format writes it, and a response nothing.
//   - The header of a data message is not authenticated (as a changed one still can't do any
//     harm: it names other keys, or another nonce).
//   - A data message holds a packet, or nothing. There are no control messages: so a side
//     that ends the session, or does not let the other one in, is just silent.
//   - A client uses new keys at once, as the response to its initiation proves that the server
//     has them. A server waits for the first packet, as always.
type Format struct {
	Prologue string // of the handshake

	// AppendTime appends the time in an initiation to dst, and ParseTime is its inverse. The
	// time is in nanoseconds since 1970. NextTime returns the time of a client's next
	// initiation: later than the one before, also in the Format's encoding, and not earlier
	// than now, as exactly as the encoding says it.
	AppendTime func(dst []byte, time uint64) []byte
	ParseTime  func(payload []byte) (time uint64, ok bool)
	NextTime   func(before, now uint64) uint64

	// See limits.go for these. The wait for the answer to an initiation is Retry, and up to
	// RetryJitter more.
	RekeyAfterTime                      time.Duration
	RekeyAfterPackets, RejectAfterCount uint64
	ReplyWithin, SilenceLimit           time.Duration
	Retry, RetryJitter                  time.Duration
}

// check returns an error for a Config that the Format has no room for.
func (f *Format) check(cfg *Config) error {
	switch {
	case f == nil:
		return nil
	case len(cfg.Payload) > 0 || cfg.NewPayload != nil || cfg.OnPayload != nil || cfg.OnControl != nil:
		return errors.New("secure: with a Format there are neither payloads nor control messages")
	case cfg.Other != nil:
		return errors.New("secure: with a Format there is one pattern")
	}
	return nil
}

// prologue returns that of the handshake.
func (f *Format) prologue() string {
	if f == nil {
		return prologue
	}
	return f.Prologue
}

// limits returns those of a session.
func (f *Format) limits() limits {
	if f == nil {
		return defaultLimits
	}
	return limits{
		rekeyTime:     f.RekeyAfterTime,
		rekeyPackets:  f.RekeyAfterPackets,
		rejectPackets: f.RejectAfterCount,
		keepPrevious:  rejectAfterTime, // a server may go on with the old keys until a packet comes
		replyWithin:   f.ReplyWithin,
		silence:       f.SilenceLimit,
		jitter:        defaultLimits.jitter,
	}
}

// ciphers returns those of a new keypair.
func (f *Format) ciphers(sending, receiving *noise.Cipher) (_, _ *noise.Cipher) {
	if f == nil {
		return sending, receiving
	}
	return sending.WithoutAD(), receiving.WithoutAD()
}

// request returns the content of an initiation.
func (f *Format) request(time uint64, payload []byte) []byte {
	if f == nil {
		return append(appendTime(nil, time), payload...)
	}
	return f.AppendTime(nil, time)
}

// parseRequest is the inverse of request.
func (f *Format) parseRequest(m []byte) (time uint64, payload []byte, ok bool) {
	if f == nil {
		return parseRequest(m)
	}
	time, ok = f.ParseTime(m)
	return time, nil, ok
}

// accept returns the content of a response with which new keys are agreed on.
func (f *Format) accept(payload []byte) []byte {
	if f == nil {
		return append([]byte{accepted}, payload...)
	}
	return nil
}

// parseAnswer is the inverse of accept.
func (f *Format) parseAnswer(m []byte) (answer, error) {
	switch {
	case f == nil:
		return parseAnswer(m)
	case len(m) > 0:
		return answer{}, errAnswer
	}
	return answer{kind: accepted}, nil
}

// nextTime returns the time in a client's next initiation, given the one before.
func (f *Format) nextTime(before uint64, now time.Time) uint64 {
	at := uint64(now.UnixNano())
	if f == nil {
		return max(before+1, at)
	}
	return f.NextTime(before, at)
}

// contentOf says what the plaintext of a data message is.
func (f *Format) contentOf(plaintext []byte) (k Kind, control byte, content []byte) {
	if f != nil && len(plaintext) > 0 && plaintext[0] == 0 {
		return None, 0, nil
	}
	return contentOf(plaintext)
}
