package secure

import (
	"encoding/binary"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// The messages, all numbers big-endian. Three reserved bytes follow the type;
// they are zero.
//
//	initiation  1 0 0 0 | sender u32 | noise message
//	response    2 0 0 0 | sender u32 | receiver u32 | noise message
//	data        3 0 0 0 | receiver u32 | counter u64 | ciphertext | tag, 16 bytes
//
// Each side names a session by an index of its own choice: "sender" is the index
// of the side that sends the message, "receiver" that of the side that gets it.
// So a message says which keys it belongs to, wherever it comes from. The header
// of a data message is authenticated with its content.
const (
	typeInitiation = 1
	typeResponse   = 2
	typeData       = 3

	initiationHeader = 8
	responseHeader   = 12
	dataHeader       = 16
)

// Overhead is what sealing adds to a packet, in bytes.
const Overhead = dataHeader + noise.TagLen

// MaxPayload is the most bytes that a handshake message carries for the layers
// above. The message then still fits into the smallest IPv6 packet that every
// link carries, 1280 bytes.
const MaxPayload = 1024

// Limits of the noise message: at least an ephemeral key and the tag of the
// payload; at most also a static key with its tag, and the longest payload.
const (
	minNoise = noise.KeyLen + noise.TagLen
	maxNoise = minNoise + noise.KeyLen + noise.TagLen + MaxPayload
)

// messageType returns the type of a message, or 0 if it is none of ours.
func messageType(m []byte) byte {
	if len(m) < 4 || m[1] != 0 || m[2] != 0 || m[3] != 0 {
		return 0
	}
	return m[0]
}

type initiation struct {
	sender uint32
	noise  []byte
}

func parseInitiation(m []byte) (initiation, bool) {
	if messageType(m) != typeInitiation || !validNoise(len(m)-initiationHeader) {
		return initiation{}, false
	}
	return initiation{
		sender: binary.BigEndian.Uint32(m[4:]),
		noise:  m[initiationHeader:],
	}, true
}

// appendTo appends the header. The noise message follows.
func (i initiation) header() []byte {
	m := []byte{typeInitiation, 0, 0, 0}
	return binary.BigEndian.AppendUint32(m, i.sender)
}

type response struct {
	sender, receiver uint32
	noise            []byte
}

func parseResponse(m []byte) (response, bool) {
	if messageType(m) != typeResponse || !validNoise(len(m)-responseHeader) {
		return response{}, false
	}
	return response{
		sender:   binary.BigEndian.Uint32(m[4:]),
		receiver: binary.BigEndian.Uint32(m[8:]),
		noise:    m[responseHeader:],
	}, true
}

func validNoise(n int) bool { return minNoise <= n && n <= maxNoise }
