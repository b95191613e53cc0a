package keeper

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/privsep"
)

// Pre-shared keys of one client each are made out of one secret and the client's public
// key (HKDF, RFC 5869). So who has one client's file knows nothing of the others', there is
// nothing to store for a client, and its line of the registry just says that it has one
// (psk=own): the registry may be readable by others than root, it is copied for the worker,
// and keeps the lines of who was revoked. The secret is in a file of its own, which only
// root reads; the worker gets it by the keeper's socket, as it gets the server's key, and
// writes it nowhere. It has nothing to do with the server's key: the two are two locks.

// PSKSecretFile is where a server's secret is: beside the registry.
func PSKSecretFile(cfg *config.Server) string { return cfg.Clients + ".psk" }

// PSKSecret reads it. nil is none.
func PSKSecret(cfg *config.Server) (*[noise.KeyLen]byte, error) {
	name := PSKSecretFile(cfg)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	secret, err := keyfile.Read(name)
	if err != nil {
		return nil, err
	}
	return &secret, nil
}

// NewOwnPSK is OwnPSK for who lets in a client: it makes the secret if there is none.
func NewOwnPSK(cfg *config.Server, client noise.PublicKey) (*[noise.KeyLen]byte, error) {
	secret, err := PSKSecret(cfg)
	if secret == nil && err == nil {
		if err = keyfile.Create(PSKSecretFile(cfg)); err == nil {
			secret, err = PSKSecret(cfg)
		}
	}
	if err != nil {
		return nil, err
	}
	return OwnPSK(secret, client), nil
}

// OwnPSK returns the pre-shared key of a client.
func OwnPSK(secret *[noise.KeyLen]byte, client noise.PublicKey) *[noise.KeyLen]byte {
	key, err := hkdf.Key(sha256.New, secret[:], nil, "stepvpn pre-shared key of "+string(client[:]), noise.KeyLen)
	if err != nil {
		panic(err) // the length is wrong
	}
	return (*[noise.KeyLen]byte)(key)
}

// pskSecret is PSKSecret for who goes on without: those clients are refused then.
func (s *Server) pskSecret() *[noise.KeyLen]byte {
	secret, err := PSKSecret(s.cfg)
	if err != nil {
		slog.Error("clients with a pre-shared key of their own can't come in", "error", err)
	}
	return secret
}

const eventPSKSecret = "psk secret"

// tellPSKSecret tells the worker the secret, if there is one. It comes before the client
// that it was made for.
func (s *Server) tellPSKSecret(c *privsep.Conn) {
	if secret := s.pskSecret(); secret != nil {
		c.Tell(eventPSKSecret, secret)
	}
}

// takePSKSecret is the other end.
func (r *RemoteServer) takePSKSecret(with json.RawMessage) {
	secret := new([noise.KeyLen]byte)
	if json.Unmarshal(with, secret) == nil {
		r.secret.Store(secret)
	}
}

// OwnPSK returns the pre-shared key of a client, or nil if the server does not know it.
func (r *RemoteServer) OwnPSK(client noise.PublicKey) *[noise.KeyLen]byte {
	secret := r.secret.Load()
	if secret == nil {
		return nil
	}
	return OwnPSK(secret, client)
}
