package main

import (
	"encoding/binary"
	"time"

	"stepvpn/step2-tun/packet"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/further/wireguard"
)

// This file is the client's side of one session of the WireGuard protocol (whitepaper, section
// 5.4). Each message begins with its type and three zeros; numbers are little-endian:
//
//	initiation  1 0 0 0 | our index u32 | handshake: e, s, time | mac1 | mac2        148 bytes
//	response    2 0 0 0 | theirs u32 | ours u32 | handshake: e | mac1 | mac2          92 bytes
//	data        4 0 0 0 | receiver's index u32 | counter u64 | packet, sealed
//
// The two codes are not here: package cookie adds them and takes them off.

const (
	initiationHeader, responseHeader, dataHeader = 8, 12, 16
	unit                                         = 16 // the padding's
)

// A session is one handshake with a server, and the two ciphers that come out of it.
type session struct {
	handshake     *noise.Handshake
	ours, theirs  uint32        // the indexes that the client and the server gave it
	send, receive *noise.Cipher // nil until there was a response
}

// initiate returns the initiation, without its codes. What the handshake's first message carries
// is the time, as Format writes it.
//
//exercise:2
func (s *session) initiate(now time.Time) ([]byte, error) {
	m := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0}, s.ours)
	return s.handshake.WriteMessage(m, wireguard.Format.AppendTime(nil, uint64(now.UnixNano())))
}

// respond reads a response, without its codes, and makes the ciphers. It reports false if m is not a
// response to this session's initiation, or does not come from the server.
//
//exercise:2
func (s *session) respond(m []byte) bool {
	if len(m) < responseHeader || m[0] != 2 || binary.LittleEndian.Uint32(m[8:]) != s.ours {
		return false
	}
	if _, err := s.handshake.ReadMessage(nil, m[responseHeader:]); err != nil {
		return false
	}
	s.theirs = binary.LittleEndian.Uint32(m[4:])
	var err error
	s.send, s.receive, err = s.handshake.Split()
	return err == nil
}

// seal returns a data message with a packet, which is padded with zeros to a multiple of 16
// bytes. There is no additional data.
//
//exercise:2
func (s *session) seal(counter uint64, p []byte) []byte {
	m := binary.LittleEndian.AppendUint32([]byte{4, 0, 0, 0}, s.theirs)
	m = binary.LittleEndian.AppendUint64(m, counter)
	padded := append(p[:len(p):len(p)], make([]byte, -len(p)&(unit-1))...)
	return s.send.Seal(m, counter, nil, padded)
}

// open returns the IPv4 packet in a data message, without its padding: where that begins, the
// packet's own header says. It returns nil if m is no data message of this session, or holds no
// such packet; a keepalive is empty.
//
//exercise:2
func (s *session) open(m []byte) []byte {
	if len(m) < dataHeader || m[0] != 4 || binary.LittleEndian.Uint32(m[4:]) != s.ours {
		return nil
	}
	p, err := s.receive.Open(nil, binary.LittleEndian.Uint64(m[8:]), nil, m[dataHeader:])
	if err != nil || len(p) < packet.IPv4HeaderLen {
		return nil
	}
	n := int(binary.BigEndian.Uint16(p[2:]))
	if n > len(p) || packet.Check(p[:n]) != nil {
		return nil
	}
	return p[:n]
}
