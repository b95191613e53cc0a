package secure

import (
	"encoding/binary"

	"stepvpn/step2-tun/packet"
)

// This file reads and writes what is in a data message, once it is decrypted. The first
// byte says what it is:
//
//	packet     an IP packet: its first four bits are the version, 4 or 6
//	control    0 | kind | length u16, little-endian | content
//	keepalive  nothing: the other side is there
//
// Zeros may follow a packet or a control message, so that the length of the data message
// reveals less about its content: both kinds state their own length.

// A Kind is what a message turned out to be.
type Kind uint8

// The kinds that Opener.Open returns.
const (
	None       Kind = iota // dropped and counted, or fully handled
	Keepalive              // the other side is there
	Packet                 // an IP packet
	Control                // a control message of another package
	Closed                 // the other side has ended the session
	Initiation             // somebody asks for a session
)

// The kinds of control messages. This package has one, "close"; its content is empty or a
// Rejected. Kinds from FirstKind on belong to the packages above this one: step 7 has some.
const (
	kindClose = 1
	FirstKind = 2
)

const controlHeader = 4

// ControlOverhead is how many bytes longer a control message is than its content,
// before it is sealed. Step 8 calculates with it how long a probe is.
const ControlOverhead = controlHeader

// contentOf says what plaintext is, and returns the packet, or the kind and content of a
// control message. None means that plaintext is neither.
func contentOf(plaintext []byte) (k Kind, control byte, content []byte) {
	switch {
	case len(plaintext) == 0:
		return Keepalive, 0, nil
	case plaintext[0] != 0:
		n, ok := packetLen(plaintext)
		if !ok {
			return None, 0, nil
		}
		return Packet, 0, plaintext[:n]
	case len(plaintext) < controlHeader || plaintext[1] == 0:
		return None, 0, nil
	}
	n := int(binary.LittleEndian.Uint16(plaintext[2:]))
	if n > len(plaintext)-controlHeader {
		return None, 0, nil
	}
	control, content = plaintext[1], plaintext[controlHeader:controlHeader+n]
	if control != kindClose {
		return Control, control, content
	}
	if _, ok := parseClose(content); !ok {
		return None, 0, nil
	}
	return Closed, control, content
}

// packetLen returns the length in bytes that the header of an IP packet states (RFC 791,
// section 3.1; RFC 8200, section 3). It returns false if p is not a packet, or is
// shorter than that.
func packetLen(p []byte) (n int, ok bool) {
	switch {
	case len(p) >= packet.IPv4HeaderLen && p[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(p[2:]))
		return n, packet.IPv4HeaderLen <= n && n <= len(p)
	case len(p) >= packet.IPv6HeaderLen && p[0]>>4 == 6:
		n = packet.IPv6HeaderLen + int(binary.BigEndian.Uint16(p[4:]))
		return n, n <= len(p)
	}
	return 0, false
}

// appendControl appends a control message to dst. content must be shorter than 64 KiB.
func appendControl(dst []byte, kind byte, content []byte) []byte {
	dst = append(dst, 0, kind)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(content)))
	return append(dst, content...)
}

// padded returns the length of n bytes with their padding: the next multiple of 16, but
// no more than mtu, and no less than n.
func padded(n, mtu int) int {
	const unit = 16
	return max(n, min((n+unit-1)/unit*unit, mtu))
}
