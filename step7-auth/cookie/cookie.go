// Package cookie keeps a flood of handshakes cheap for the server, as WireGuard
// does (J. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", NDSS
// 2017, sections 5.3, 5.4.4 and 5.4.7). Introduced in step 7.
//
// An initiation makes the server do public-key work, before it knows who sent it.
// So the client puts two message authentication codes behind it, which cost the
// server a hash each:
//
//	mac1  proves that the sender knows the server's public key. Without it the
//	      server is silent, at any time.
//	mac2  proves that the sender gets what is sent to its address. The server asks
//	      for it only under load: then it answers an initiation without it by a
//	      cookie, which is a code of the sender's address. The next initiation has
//	      a mac2 keyed by it. So the addresses are genuine, and each of them can be
//	      given its share of the server's time.
//
// The server remembers nothing of those who it sends cookies to. The cookie is
// encrypted for who can see the initiation and knows the server's public key. A
// cookie reply is shorter than any initiation, so nobody gets to send more by it
// than he sends himself.
//
// The messages are those of secure (step 4), which knows nothing of this package.
// Client is a Link below it, and the server calls Check before it reads an
// initiation:
//
//	initiation    1 0 0 0 | sender u32 | noise message | mac1, 16 bytes | mac2, 16 bytes
//	cookie reply  3 0 0 0 | receiver u32 | nonce, 24 bytes | encrypted cookie, 16 bytes | tag, 16 bytes
//
// A mac2 of zeros says that the client has no cookie.
//
// Read mac.go first, then client.go, server.go and limiter.go. Second reading: keys.go, for a
// server that is changing its key.
//
// What is not covered: somebody who sees the initiations on their way can answer
// with a cookie of his own, and so keep a client out while the server is under
// load. But he could as well drop them.
package cookie

import (
	"encoding/binary"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/step4-crypto/secure"
)

// Overhead is how many bytes longer an initiation gets. The longest one still fits
// into 1280 bytes, which every IPv6 link carries (RFC 8200, section 5).
const Overhead = 2 * macLen

const (
	typeInitiation = 1
	typeReply      = 3

	macLen    = blake2s.Size128
	headerLen = 8 // type, reserved bytes, index

	// With the codes.
	minInitiation = secure.MinInitiation + Overhead
	maxInitiation = secure.MaxInitiation + Overhead

	replyLen = headerLen + chacha20poly1305.NonceSizeX + macLen + chacha20poly1305.Overhead
)

// lifetime is how long a client uses a cookie, and how long the server makes
// cookies of one secret. It accepts those of the secret before, too.
const lifetime = 120 * time.Second

// isType reports whether m is a message of a type. The length is not checked.
func isType(m []byte, t byte) bool {
	return len(m) >= headerLen && m[0] == t && m[1] == 0 && m[2] == 0 && m[3] == 0
}

// index returns what an initiation calls its sender, and a reply its receiver.
func index(m []byte) uint32 { return binary.LittleEndian.Uint32(m[4:]) }
