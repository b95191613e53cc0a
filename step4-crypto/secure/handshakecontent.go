package secure

import (
	"encoding/binary"
	"errors"
)

// This file reads and writes what the messages of a handshake carry, encrypted. The
// payloads belong to other packages; this one puts its own fields in front of them:
//
//	initiation  time u64 | payload
//	response    0 | payload           new keys are agreed on
//	            1 | time u64          the client's clock is behind this time
//	            2 | end | reason      the client is refused
//
// The time is that of the client's clock, in nanoseconds since 1970. It increases from
// one initiation of a client to the next, so an initiation with an earlier time is a
// copy. Numbers are little-endian.
const (
	accepted = iota
	behind
	refused
)

const timeLen = 8

func appendTime(dst []byte, time uint64) []byte { return binary.LittleEndian.AppendUint64(dst, time) }

// parseRequest splits what an initiation carries into its parts.
func parseRequest(m []byte) (time uint64, payload []byte, ok bool) {
	if len(m) < timeLen {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(m), m[timeLen:], true
}

// An answer is the content of a response: accepted with a payload, behind with a time,
// or refused with a reason.
type answer struct {
	kind    byte
	payload []byte
	time    uint64
	reason  Rejected
}

var errAnswer = errors.New("secure: malformed answer")

func parseAnswer(m []byte) (a answer, err error) {
	if len(m) == 0 {
		return a, errAnswer
	}
	a.kind = m[0]
	m = m[1:]
	ok := false
	switch a.kind {
	case accepted:
		a.payload, ok = m, true
	case behind:
		if ok = len(m) == timeLen; ok {
			a.time = binary.LittleEndian.Uint64(m)
		}
	case refused:
		a.reason, ok = ParseRejected(m)
	}
	if !ok {
		return answer{}, errAnswer
	}
	return a, nil
}
