package secure

import (
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Request is an initiation that has authenticated: somebody asks for a
// session. Who, and whether it is a copy, is for others to judge. It is answered
// once at most. It is not safe for concurrent use.
type Request struct {
	cfg       *Config
	handshake *noise.Handshake
	sender    uint32 // the index that the other side gave the session
	payload   []byte
}

// readRequest authenticates an initiation.
func readRequest(cfg *Config, m initiation) (*Request, error) {
	h := cfg.handshake.Clone()
	payload, err := h.ReadMessage(nil, m.noise)
	if err != nil {
		return nil, err
	}
	return &Request{cfg, h, m.sender, payload}, nil
}

// accept returns the response and the session that comes of it, which is to be
// named local. It fails if the other side's ephemeral key was of low order.
func (q *Request) accept(local uint32, payload []byte, now time.Time) (response []byte, s *session, err error) {
	response, err = q.handshake.WriteMessage(newResponse(local, q.sender), payload)
	if err != nil {
		return nil, nil, err
	}
	s, err = newSession(q.handshake, local, q.sender, now, q.cfg)
	return response, s, err
}
