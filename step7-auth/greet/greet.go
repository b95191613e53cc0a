// Package greet is what client and server tell each other beside packets: who
// asks, what the server hands out or why it refuses, and a password.
// Introduced in step 7.
//
// A hello is the payload of each handshake's first message, an answer that of
// the second; login and result are control messages in the session (package
// secure). So all of it is encrypted and authentic. It is still hostile until it
// is parsed: what parses is well-formed and of bounded size, and texts are one
// line of printable ASCII.
//
// The first byte of hello and answer is the version of this encoding, which is
// 1. Numbers are big-endian.
package greet

import (
	"encoding/binary"
	"errors"
)

const version = 1

// Control messages of this package (see secure.FirstKind).
const (
	KindLogin  = 2 // client to server: a Login
	KindResult = 3 // server to client: what came of it
	KindProbe  = 4 // client to server: a Probe
	KindProbed = 5 // server to client: it has arrived
)

var (
	errVersion = errors.New("greet: the other side speaks another version of this protocol")
	errFormat  = errors.New("greet: malformed message")
)

// A Hello is what a client says of itself when it asks for a session.
//
//	version | time u64 | instance u64
type Hello struct {
	// Time is the client's clock in nanoseconds since 1970. It is higher in each
	// hello of an identity, so an older one is a copy.
	Time uint64
	// Instance is a random number that the client has chosen at its start. Two
	// machines with the same identity differ in it.
	Instance uint64
}

const helloLen = 1 + 8 + 8

// Append appends the encoding to dst.
func (h Hello) Append(dst []byte) []byte {
	dst = append(dst, version)
	dst = binary.BigEndian.AppendUint64(dst, h.Time)
	return binary.BigEndian.AppendUint64(dst, h.Instance)
}

// ParseHello is the inverse of Append.
func ParseHello(m []byte) (Hello, error) {
	if len(m) > 0 && m[0] != version {
		return Hello{}, errVersion
	}
	if len(m) != helloLen {
		return Hello{}, errFormat
	}
	return Hello{
		Time:     binary.BigEndian.Uint64(m[1:]),
		Instance: binary.BigEndian.Uint64(m[9:]),
	}, nil
}
