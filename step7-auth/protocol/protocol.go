// Package protocol encodes what client and server tell each other besides packets: which
// program asks, what the server hands out, and a password. Introduced in step 7.
//
// A hello is the payload of each handshake's first message, a welcome that of
// the second; login and result are control messages in the session (package
// secure). So all of it is encrypted and authentic. It is still treated as hostile until
// it is parsed: what the parsers accept is well-formed and of bounded size, and texts are
// one line of printable ASCII.
//
// The first byte of hello and welcome is the version of this encoding, which is
// 2. Numbers are big-endian.
package protocol

import (
	"encoding/binary"
	"errors"
)

const version = 2

// Control messages of this package (see secure.FirstKind).
const (
	KindLogin  = 2 // client to server: a Login
	KindResult = 3 // server to client: a Result

	FirstKind = 4 // the first kind that other packages may use
)

var (
	errVersion = errors.New("protocol: the other side speaks another version")
	errFormat  = errors.New("protocol: malformed message")
)

// A Hello is what a client says about itself when it asks for a session.
//
//	version | instance u64
type Hello struct {
	// Instance is a random number that the client chooses when it starts. It tells apart
	// two machines with the same identity.
	Instance uint64
}

const helloLen = 1 + 8

// Append appends the encoding to dst.
func (h Hello) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, version), h.Instance)
}

// ParseHello is the inverse of Append.
func ParseHello(m []byte) (Hello, error) {
	if len(m) > 0 && m[0] != version {
		return Hello{}, errVersion
	}
	if len(m) != helloLen {
		return Hello{}, errFormat
	}
	return Hello{Instance: binary.BigEndian.Uint64(m[1:])}, nil
}
