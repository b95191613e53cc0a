package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
)

// This file makes the handshake of a server or a client (IK, or IKpsk2 with a pre-shared key) from
// its keys.

// LoadServerKey reads the private key of the server. If there is no file, its hint differs
// from keyfile's, where both sides have the same key: this key is not to be copied.
func LoadServerKey(file string) (noise.PrivateKey, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return noise.PrivateKey{}, app.Hint(fmt.Errorf("there is no key file %s", file), "'clients init -key %s' makes it, on the server.", file)
	}
	key, err := keyfile.Read(file)
	return noise.PrivateKey(key), err
}

// ServerHandshake returns the handshake of a server. keyFile has the server's private
// key; pskFile has a pre-shared key that all clients have, too, or is "" for none.
func ServerHandshake(keyFile, pskFile string) (noise.Config, error) {
	key, err := LoadServerKey(keyFile)
	if err != nil {
		return noise.Config{}, err
	}
	var psk *[noise.KeyLen]byte
	if pskFile != "" {
		read, err := keyfile.Read(pskFile)
		if err != nil {
			return noise.Config{}, err
		}
		psk = &read
	}
	return KeyHandshake(key, psk), nil
}

// KeyHandshake is ServerHandshake for a caller that has the keys, such as step 8, which
// gets them from another process. psk may be nil.
func KeyHandshake(key noise.PrivateKey, psk *[noise.KeyLen]byte) noise.Config {
	return handshake(&key, nil, psk)
}

// Handshake returns the handshake of this profile's client with its server.
func (p *Profile) Handshake() noise.Config {
	return handshake(&p.PrivateKey, &p.ServerKey, p.PresharedKey)
}

// handshake is IK: the client knows the server's key beforehand and sends its own,
// encrypted, so that each knows who the other is.
func handshake(own *noise.PrivateKey, peer *noise.PublicKey, psk *[noise.KeyLen]byte) noise.Config {
	c := noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: own, PeerStatic: peer}
	if psk != nil {
		c.Pattern, c.PSK = noise.IKpsk2, psk
	}
	return c
}
