package cookie

import "stepvpn/step4-crypto/noise"

// Second reading, for step 8: a server that is changing its key has two keys for a while.

// WithKey returns a Server for another key of the same server. Both share the limits on
// sources, and the secret that cookies are made with.
func (s *Server) WithKey(public noise.PublicKey) *Server {
	return &Server{drops: s.drops, cipher: cipherOf(public), mac1: mac1Of(public), shared: s.shared}
}

// Meant reports whether the mac1 of m was made for this key. It counts nothing.
func (s *Server) Meant(m []byte) bool {
	if !isType(m, typeInitiation) || len(m) < minInitiation || len(m) > maxInitiation {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	covered, code := mac1At(m)
	return s.mac1.sum(covered).equals(code)
}
