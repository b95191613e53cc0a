package greet

import "encoding/binary"

// A Probe asks whether a message of its size arrives. It is the first part of what
// RFC 8899 needs of a protocol: a probe packet that carries no data of users, and a
// confirmation that it came. The answer is never longer than the probe.
//
//	id u32 | zeros
type Probe struct {
	ID   uint32
	Size int // bytes of the encoding: MinProbe to MaxProbe
}

// The bounds of a probe's size.
const (
	MinProbe = probedLen
	MaxProbe = 1<<16 - 1
)

// Append appends the encoding of p, whose size must be within bounds, to dst.
func (p Probe) Append(dst []byte) []byte {
	m := make([]byte, p.Size)
	binary.BigEndian.PutUint32(m, p.ID)
	return append(dst, m...)
}

// ParseProbe is the inverse of Append. It does not look at the padding.
func ParseProbe(m []byte) (Probe, error) {
	if len(m) < MinProbe || len(m) > MaxProbe {
		return Probe{}, errFormat
	}
	return Probe{ID: binary.BigEndian.Uint32(m), Size: len(m)}, nil
}

// Answer tells that p has arrived.
func (p Probe) Answer() Probed { return Probed(p) }

// Probed is the answer to the probe with this ID, and the size that arrived.
//
//	id u32 | size u16
type Probed Probe

const probedLen = 4 + 2

// Append appends the encoding to dst.
func (p Probed) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, p.ID)
	return binary.BigEndian.AppendUint16(dst, uint16(p.Size))
}

// ParseProbed is the inverse of Append.
func ParseProbed(m []byte) (Probed, error) {
	if len(m) != probedLen {
		return Probed{}, errFormat
	}
	return Probed{ID: binary.BigEndian.Uint32(m), Size: int(binary.BigEndian.Uint16(m[4:]))}, nil
}
