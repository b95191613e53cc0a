package cookie

import (
	"net/netip"
	"testing"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// The cost of one initiation of a flood, by what its sender knows.
func BenchmarkCheck(b *testing.B) {
	s, _ := newServer()
	m := sent(b, Client(new(wire), serverKey(), new(link.Drops)), newInitiation(1))[0]
	s.changeSecret(now())
	bench := func(name string, m []byte, load bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				s.Check(m, alice, load, false, now().Add(time.Duration(i)))
			}
		})
	}
	forged := append([]byte(nil), m...)
	forged[20] ^= 1
	bench("forged", forged, true)
	bench("mac1", m, false)
	bench("mac1-under-load", m, true)
	withCookie := append([]byte(nil), m...)
	cookie := cookieFor(s.secret[0], alice)
	covered, code := mac2At(withCookie)
	mac2 := newHasher(cookie[:]).sum(covered)
	copy(code, mac2[:])
	bench("mac2-throttled", withCookie, true)
}

// For comparison: what a server without these codes does for an initiation.
func BenchmarkHandshake(b *testing.B) {
	server, peer := noise.GenerateKey(), noise.GenerateKey()
	public := server.Public()
	i, err := noise.New(noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Initiator: true, Static: &peer, PeerStatic: &public})
	if err != nil {
		b.Fatal(err)
	}
	m, err := i.WriteMessage(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := noise.New(noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &server})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.ReadMessage(nil, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	b.ReportAllocs()
	var l Limiter
	for i := range b.N {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l.Allow(netip.AddrPortFrom(addr, 1), now().Add(time.Duration(i)*time.Microsecond))
	}
}
