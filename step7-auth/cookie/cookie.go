// Package cookie keeps a flood of handshakes cheap for the server, as WireGuard
// does (J. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", NDSS
// 2017, sections 5.3, 5.4.4 and 5.4.7). Introduced in step 7.
//
// An initiation makes the server do public-key work before it knows who sent it. So the
// client appends two message authentication codes (MACs), each of which costs the server
// only a hash to check:
//
//	mac1  proves that the sender knows the server's public key. The server never
//	      answers an initiation without it.
//	mac2  proves that the sender receives what is sent to its address. The server
//	      asks for it only under load: then it answers an initiation without mac2
//	      with a cookie, which is a MAC of the sender's address. The client's next
//	      initiation has a mac2 with the cookie as its key. So the server knows that
//	      addresses are genuine, and can give each a share of its time.
//
// The server keeps no state about senders that it sends cookies to. The cookie is
// encrypted, so that only somebody who can see the initiation and knows the server's
// public key can read it. A cookie reply is shorter than any initiation, so it can't be
// used to amplify an attack on a third party.
//
// The messages are those of package secure (step 4), which knows nothing of this package.
// Client is a Link below it, and the server calls Check before it reads an initiation:
//
//	initiation    1 0 0 0 | sender u32 | noise message | mac1, 16 bytes | mac2, 16 bytes
//	cookie reply  3 0 0 0 | receiver u32 | nonce, 24 bytes | encrypted cookie, 16 bytes | tag, 16 bytes
//
// A mac2 of zeros says that the client has no cookie.
//
// The codes are in mac.go, the two sides in client.go and server.go, each source's share in
// limiter.go. keys.go is for a server that is changing its key (step 8), and response.go for a
// chapter after that, in which other programs come in.
//
// What is not covered: an attacker who sees the initiations on their way can answer with
// a false cookie, and so keep a client out while the server is under load. But such an
// attacker could often just as well drop them.
package cookie

import (
	"encoding/binary"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/step4-crypto/secure"
)

// Overhead is what the two codes add to an initiation, in bytes. The longest initiation
// still fits into 1280 bytes, which every IPv6 link carries (RFC 8200, section 5).
const Overhead = 2 * macLen

const (
	typeInitiation = 1
	typeReply      = 3

	macLen    = blake2s.Size128
	headerLen = 8 // type, reserved bytes, index

	// In bytes, with the codes.
	minInitiation = secure.MinInitiation + Overhead
	maxInitiation = secure.MaxInitiation + Overhead

	replyLen = headerLen + chacha20poly1305.NonceSizeX + macLen + chacha20poly1305.Overhead
)

// lifetime is how long a client uses a cookie, and how long the server makes cookies with
// one secret. The server also accepts cookies made with the previous secret.
const lifetime = 120 * time.Second

// isType reports whether m is a message of type t. It checks only that there is a header.
func isType(m []byte, t byte) bool {
	return len(m) >= headerLen && m[0] == t && m[1] == 0 && m[2] == 0 && m[3] == 0
}

// index returns the sender's index in an initiation, and the receiver's in a reply.
func index(m []byte) uint32 { return binary.LittleEndian.Uint32(m[4:]) }
