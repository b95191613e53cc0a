package cookie

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// A Server checks initiations before any public-key work is done for them. Its memory is
// bounded to about 1 MB. It is safe for concurrent use; calls take turns.
type Server struct {
	drops  *link.Drops
	cipher cipher.AEAD
	mac1   *hasher // guarded by shared.mu
	*shared
}

// shared is the part of a Server that does not depend on the server's key.
type shared struct {
	mu      sync.Mutex // guards all below
	secret  [2]*hasher // make cookies: the secret in use, and the one before it
	since   time.Time  // when the one in use came into use
	limiter Limiter
}

// NewServer returns a Server for a server's public key. It counts what it drops
// in drops, each under secure.BadMessage, BadMAC, UnderLoad or Throttled.
func NewServer(public noise.PublicKey, drops *link.Drops) *Server {
	return &Server{
		drops:  drops,
		cipher: cipherOf(public),
		mac1:   mac1Of(public),
		shared: new(shared),
	}
}

// Check checks m, a message of type 1 that came from an address. If the initiation may be
// worked on, Check returns it: the part of m without the codes, with no capacity to grow into
// them. Otherwise it counts why not, and returns the reply to send to that address, or
// nothing. A message of another type or length is a secure.BadMessage, one with another mac1 a
// BadMAC; its sender gets no reply, and nothing is remembered of it.
//
// underLoad says that more initiations arrive than the server can work on. Then an
// initiation needs a mac2 (UnderLoad if it has none; the reply is a cookie). Of those that
// have one, one source gets 20 per second through (5 at once; Throttled), and the networks
// around it a few times as many (see Limiter). present says that a connected client is at
// that address: the limits of those networks do not hold for it.
//
//exercise:2
func (s *Server) Check(m []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte) {
	if !isType(m, typeInitiation) || len(m) < minInitiation || len(m) > maxInitiation {
		s.drops.Add(secure.BadMessage)
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	covered, code := mac1At(m)
	if !s.mac1.sum(covered).equals(code) {
		s.drops.Add(BadMAC)
		return nil, nil
	}
	initiation = covered[:len(covered):len(covered)]
	if !underLoad {
		return initiation, nil
	}
	s.changeSecret(now)
	if !s.hasCookie(m, from) {
		s.drops.Add(UnderLoad)
		return nil, s.reply(m, from)
	}
	if !s.allow(from, present, now) {
		s.drops.Add(Throttled)
		return nil, nil
	}
	return initiation, nil
}

// allow reports whether one more initiation of a source may be worked on.
func (s *Server) allow(from netip.AddrPort, present bool, now time.Time) bool {
	if present {
		return s.limiter.AllowEndpoint(from, now)
	}
	return s.limiter.Allow(from, now)
}

// changeSecret puts a new secret into use when the one in use is old.
func (s *Server) changeSecret(now time.Time) {
	age := now.Sub(s.since)
	if s.secret[0] != nil && age < lifetime {
		return
	}
	s.secret[1] = s.secret[0]
	if age >= 2*lifetime {
		s.secret[1] = nil // it has expired, too
	}
	var key [blake2s.Size]byte
	rand.Read(key[:]) // never fails: it ends the process instead
	s.secret[0], s.since = newHasher(key[:]), now
}

// hasCookie reports whether the mac2 of m was made with the cookie of an address.
func (s *Server) hasCookie(m []byte, from netip.AddrPort) bool {
	covered, code := mac2At(m)
	if (mac{}).equals(code) {
		return false // the usual case in a flood: this saves work
	}
	for _, secret := range s.secret {
		if secret == nil {
			continue
		}
		cookie := cookieFor(secret, from)
		if newHasher(cookie[:]).sum(covered).equals(code) {
			return true
		}
	}
	return false
}

// cookieFor returns the cookie of an address.
func cookieFor(secret *hasher, from netip.AddrPort) mac {
	var source [18]byte
	addr := from.Addr().As16() // the same for both forms of an IPv4 address
	copy(source[:], addr[:])
	binary.BigEndian.PutUint16(source[16:], from.Port())
	return secret.sum(source[:])
}

// reply returns the cookie reply to m.
func (s *Server) reply(m []byte, from netip.AddrPort) []byte {
	r := make([]byte, headerLen+chacha20poly1305.NonceSizeX, replyLen)
	r[0] = typeReply
	copy(r[4:headerLen], m[4:headerLen]) // the receiver is m's sender
	nonce := r[headerLen:]
	rand.Read(nonce)
	cookie := cookieFor(s.secret[0], from)
	_, mac1 := mac1At(m)
	return s.cipher.Seal(r, nonce, cookie[:], mac1)
}
