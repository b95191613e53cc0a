package secure

import (
	"encoding/binary"

	"stepvpn/step4-crypto/noise"
)

// The messages, in WireGuard's layout. Numbers are little-endian, and the three
// bytes after the type are reserved: they are zero.
//
//	initiation  1 0 0 0 | sender u32 | noise message
//	response    2 0 0 0 | sender u32 | receiver u32 | noise message
//	data        4 0 0 0 | receiver u32 | counter u64 | ciphertext | tag, 16 bytes
//
// Each side names a keypair by an index of its own choice. "sender" is the index of the
// side that sends the message, "receiver" that of the side that receives it. So a
// message says which keys it is for, whatever address it comes from. The header of a
// data message is authenticated together with its content. (Step 7 adds type 3.)
const (
	typeInitiation = 1
	typeResponse   = 2
	typeData       = 4

	initiationHeader = 8
	responseHeader   = 12
	dataHeader       = 16
)

// Overhead is how many bytes longer a packet gets when it is sealed, besides its
// padding, which stays within the MTU.
const Overhead = dataHeader + noise.TagLen

// MaxPayload is the most bytes that a handshake message carries for other packages.
// With the headers, they still fit into 1280 bytes, which every IPv6 link carries (RFC
// 8200, section 5).
const MaxPayload = 1024

// The shortest noise message has an ephemeral key and the tag of an empty
// payload. The longest also has a static key with its tag, and a full payload after the
// time that this package puts in front of it.
const (
	minNoise = noise.KeyLen + noise.TagLen
	maxNoise = minNoise + noise.KeyLen + noise.TagLen + timeLen + MaxPayload
)

// The shortest and the longest initiation, in bytes, for step 7, which adds codes to them.
const (
	MinInitiation = initiationHeader + minNoise
	MaxInitiation = initiationHeader + maxNoise
)

// messageType returns the type of m, or 0 when m is no message of this protocol.
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

func parseInitiation(m []byte) (i initiation, ok bool) {
	if messageType(m) != typeInitiation || !plausibleNoise(len(m)-initiationHeader) {
		return initiation{}, false
	}
	return initiation{
		sender: binary.LittleEndian.Uint32(m[4:]),
		noise:  m[initiationHeader:],
	}, true
}

// newInitiation returns the header of an initiation, for a noise message to follow.
func newInitiation(sender uint32) []byte {
	m := []byte{typeInitiation, 0, 0, 0}
	return binary.LittleEndian.AppendUint32(m, sender)
}

type response struct {
	sender, receiver uint32
	noise            []byte
}

func parseResponse(m []byte) (r response, ok bool) {
	if messageType(m) != typeResponse || !plausibleNoise(len(m)-responseHeader) {
		return response{}, false
	}
	return response{
		sender:   binary.LittleEndian.Uint32(m[4:]),
		receiver: binary.LittleEndian.Uint32(m[8:]),
		noise:    m[responseHeader:],
	}, true
}

// newResponse returns the header of a response, for a noise message to follow.
func newResponse(sender, receiver uint32) []byte {
	m := []byte{typeResponse, 0, 0, 0}
	m = binary.LittleEndian.AppendUint32(m, sender)
	return binary.LittleEndian.AppendUint32(m, receiver)
}

func plausibleNoise(n int) bool { return minNoise <= n && n <= maxNoise }

type data struct {
	receiver       uint32
	counter        uint64
	header, sealed []byte // sealed is ciphertext and tag
}

func parseData(m []byte) (d data, ok bool) {
	if messageType(m) != typeData || len(m) < Overhead {
		return data{}, false
	}
	return data{
		receiver: binary.LittleEndian.Uint32(m[4:]),
		counter:  binary.LittleEndian.Uint64(m[8:]),
		header:   m[:dataHeader],
		sealed:   m[dataHeader:],
	}, true
}

// appendDataHeader appends the header of a data message to dst.
func appendDataHeader(dst []byte, receiver uint32, counter uint64) []byte {
	dst = append(dst, typeData, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, receiver)
	return binary.LittleEndian.AppendUint64(dst, counter)
}
