package pathmtu

import (
	"encoding/binary"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// The control messages of this package. Numbers are big-endian.
const (
	kindProbe  = protocol.FirstKind + iota // client to server: a probe
	kindAnswer                             // server to client: the probe has arrived
	kindFound                              // client to server: what the path carries
)

// A probe asks whether a message of its size arrives. RFC 8899 asks this of a protocol: a
// probe packet that carries no user data, and a confirmation that it arrived. The answer is
// never longer than the probe.
//
//	id u32 | 1 if the answer is to be as long as the probe, else 0 | zeros
//
// A server of an earlier version looks only at the id, and sends a short answer.
type probe struct {
	id   uint32
	size int  // bytes of the encoding: minProbe to maxProbe
	both bool // the probe is about both directions
}

const (
	minProbe = 16 - secure.ControlOverhead // as long as the answer with its padding
	maxProbe = 1<<16 - 1
)

// append appends the encoding of p, whose size must be within bounds, to dst.
func (p probe) append(dst []byte) []byte {
	m := make([]byte, p.size)
	binary.BigEndian.PutUint32(m, p.id)
	if p.both {
		m[4] = 1
	}
	return append(dst, m...)
}

// parseProbe is the inverse of append. It does not look at the zeros.
func parseProbe(m []byte) (p probe, ok bool) {
	if len(m) < minProbe || len(m) > maxProbe {
		return p, false
	}
	return probe{id: binary.BigEndian.Uint32(m), size: len(m), both: m[4] == 1}, true
}

// An answer says that the probe with this id has arrived, and its size. If the probe is about
// both directions, the answer's own arrival shows the same for the way back.
//
//	id u32 | size u16 | zeros, up to size, if the probe is about both directions
type answer probe

const answerLen = 4 + 2

func (a answer) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, a.id)
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.size))
	if a.both {
		dst = append(dst, make([]byte, a.size-answerLen)...)
	}
	return dst
}

func parseAnswer(m []byte) (a answer, ok bool) {
	if len(m) < answerLen {
		return a, false
	}
	a = answer{id: binary.BigEndian.Uint32(m), size: int(binary.BigEndian.Uint16(m[4:])), both: len(m) > answerLen}
	return a, !a.both || len(m) == a.size
}

// A found is the size, in bytes, of the packets in the tunnel that the path carries.
//
//	size u16
type found int

func (f found) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(min(f, maxProbe)))
}

func parseFound(m []byte) (f found, ok bool) {
	if len(m) != 2 {
		return 0, false
	}
	return found(binary.BigEndian.Uint16(m)), true
}
