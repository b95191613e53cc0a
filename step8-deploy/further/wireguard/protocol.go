// Package wireguard lets step 8 speak the WireGuard protocol: programs of others come in to
// the server, and the client goes to the servers of others. WireGuard is a registered
// trademark of Jason A. Donenfeld.
//
// The protocol is described in the WireGuard whitepaper: J. Donenfeld, "WireGuard: Next
// Generation Kernel Network Tunnel", NDSS 2017. Most of it is there since steps 4 and 7: the
// handshake, the layout of messages, the index table, the window, how keys come into use, and
// the cookies. This file has what differs.
package wireguard

import (
	"encoding/binary"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// Handshake returns the handshake of the WireGuard protocol (whitepaper, section 5.4): of a
// server, for which server is nil, or of a client of that server. psk is nil if the two have no
// pre-shared key: then it is 32 zero bytes.
func Handshake(own noise.PrivateKey, server *noise.PublicKey, psk *[noise.KeyLen]byte) noise.Config {
	if psk == nil {
		psk = new([noise.KeyLen]byte)
	}
	return noise.Config{Suite: noise.ChaChaPolyBLAKE2s, Pattern: noise.IKpsk2, Static: &own, PeerStatic: server, PSK: psk}
}

// Format is what differs in a session (whitepaper, sections 5.4 and 6.1). The time after which
// keys are of no use any more, 180 s, is the same.
//
// Our client renews its keys every 120 s, also when it has nothing to send; the whitepaper's is
// silent then. So the age of the last handshake says whether the server is there.
var Format = &secure.Format{
	Prologue: "WireGuard v1 zx2c4 Jason@zx2c4.com",

	AppendTime: appendTAI64N,
	ParseTime:  parseTAI64N,
	NextTime:   nextTAI64N,

	RekeyAfterTime:    120 * time.Second,
	RekeyAfterPackets: 1 << 60,
	RejectAfterCount:  1<<64 - 1<<13 - 1,
	ReplyWithin:       10 * time.Second,         // KEEPALIVE_TIMEOUT
	SilenceLimit:      15 * time.Second,         // KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
	Retry:             5 * time.Second,          // REKEY_TIMEOUT
	RetryJitter:       time.Second * 334 / 1000, // so that not all come back at once
}

// A timestamp in TAI64N (whitepaper, section 5.1; https://cr.yp.to/libtai/tai64.html) is a
// number of seconds, and of nanoseconds within the second, both big-endian. The lowest bits of
// the nanoseconds are cleared: they would tell others how fast the clock's host is.
const (
	tai64nLen  = 12
	tai64Epoch = 0x400000000000000a // the seconds at the start of 1970
	tai64nUnit = 1 << 24            // nanoseconds

	second = uint64(time.Second)
)

// appendTAI64N appends a time, in nanoseconds since 1970, to dst.
//
//exercise:1
func appendTAI64N(dst []byte, t uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, tai64Epoch+t/second)
	return binary.BigEndian.AppendUint32(dst, uint32(t%second)&^(tai64nUnit-1))
}

// parseTAI64N returns the time of a timestamp, in nanoseconds since 1970. It refuses one before
// 1970, one after 2500, and one with more nanoseconds than a second has.
//
//exercise:1
func parseTAI64N(m []byte) (t uint64, ok bool) {
	if len(m) != tai64nLen {
		return 0, false
	}
	seconds, nanos := binary.BigEndian.Uint64(m)-tai64Epoch, uint64(binary.BigEndian.Uint32(m[8:]))
	const latest = 530 * 365 * 24 * 3600
	if seconds > latest || nanos >= second {
		return 0, false
	}
	return seconds*second + nanos, true
}

// nextTAI64N returns the first time that is not earlier than now, as exactly as a timestamp
// says it, and whose timestamp is later than that of before.
//
//exercise:1
func nextTAI64N(before, now uint64) uint64 {
	t := max(now, before+tai64nUnit)
	return t - t%second%tai64nUnit
}
