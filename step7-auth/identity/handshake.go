package identity

import "stepvpn/step4-crypto/noise"

// Handshake returns what the client does to prove who it is, and to have the
// server do so.
func (p *Profile) Handshake() noise.Config {
	c := noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &p.PrivateKey, PeerStatic: &p.ServerKey}
	if p.PresharedKey != nil {
		c.Pattern, c.PSK = noise.IKpsk2, p.PresharedKey
	}
	return c
}
