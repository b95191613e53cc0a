package secure

import (
	"encoding/binary"

	"stepvpn/step2-tun/packet"
)

// What a data message has inside. The first byte tells what it is:
//
//	packet     an IP packet: its first four bits are the version, 4 or 6
//	control    0 | kind | length u16, little-endian | content
//	keepalive  nothing: the other side is there
//
// Zeros may follow a packet or a control message, so that the length of a message tells
// less about what is in it: both know their own length.

// A Kind is what a message turned out to be.
type Kind uint8

// The kinds that Opener.Open returns.
const (
	None       Kind = iota // dropped and counted, or dealt with
	Keepalive              // the other side is there
	Packet                 // an IP packet
	Control                // a control message of another package
	Closed                 // the other side has ended the session
	Initiation             // somebody asks for a session
)

const controlHeader = 4

// ControlOverhead is how many bytes longer a control message is than its content,
// before it is sealed.
const ControlOverhead = controlHeader

// contentOf tells what plaintext is, and returns the packet, or what a control
// message of some kind says. None stands for neither.
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

// packetLen returns the length in bytes that an IP packet says it has (RFC 791,
// section 3.1; RFC 8200, section 3). It reports false if p is none, or shorter.
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

// appendControl appends a control message to dst. Content is shorter than 64 KB.
func appendControl(dst []byte, kind byte, content []byte) []byte {
	dst = append(dst, 0, kind)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(content)))
	return append(dst, content...)
}

// padded returns how long n bytes get with their padding: a multiple of 16, as
// long as that does not exceed mtu.
func padded(n, mtu int) int {
	const unit = 16
	return max(n, min((n+unit-1)/unit*unit, mtu))
}
