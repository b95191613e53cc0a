package keeper

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/privsep"
)

// This file makes clients' own pre-shared keys, on the server.
//
// A client's own pre-shared key is derived from one secret and the client's public key
// (HKDF, RFC 5869). So one client's file reveals nothing about the others' keys, and nothing
// has to be stored for a client. Its line in the registry just says that it has such a key
// (psk=own), because the registry is no place for secrets: users other than root may be able
// to read it, it is copied for the worker, and it keeps the lines of revoked clients. The
// secret is in a file of its own, which only root can read. The worker gets it through the
// keeper's socket, like the server's key, and never writes it anywhere. The secret is
// independent of the server's key: an attacker needs both.

// In the keeper and in the operator's commands (OwnPSK in the worker, too):

// PSKSecretFile returns the name of the file with a server's secret, which is beside the
// registry.
func PSKSecretFile(cfg *config.Server) string { return cfg.Clients + ".psk" }

// PSKSecret reads the secret. It returns nil if there is none.
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

// NewOwnPSK is OwnPSK for the command that adds a client: it makes the secret if there is
// none. It waits while another program does that, for pskWait at most.
func NewOwnPSK(cfg *config.Server, client noise.PublicKey) (*[noise.KeyLen]byte, error) {
	secret, err := PSKSecret(cfg)
	if secret == nil && err == nil {
		secret, err = makePSKSecret(cfg)
	}
	if err != nil {
		return nil, err
	}
	return OwnPSK(secret, client), nil
}

const pskWait = 30 * time.Second

// makePSKSecret makes the secret, unless another program has just made it: all clients' keys come from
// one secret.
func makePSKSecret(cfg *config.Server) (secret *[noise.KeyLen]byte, err error) {
	held, err := atomicfile.OpenLock(PSKSecretFile(cfg)+".lock", pskWait)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if secret, err = PSKSecret(cfg); secret != nil || err != nil {
		return secret, err
	}
	if err := keyfile.Create(PSKSecretFile(cfg)); err != nil {
		return nil, err
	}
	return PSKSecret(cfg)
}

// OwnPSK returns the pre-shared key of a client.
func OwnPSK(secret *[noise.KeyLen]byte, client noise.PublicKey) *[noise.KeyLen]byte {
	key, err := hkdf.Key(sha256.New, secret[:], nil, "stepvpn pre-shared key of "+string(client[:]), noise.KeyLen)
	if err != nil {
		panic(err) // only for a wrong length
	}
	return (*[noise.KeyLen]byte)(key)
}

// In the keeper of a server that runs:

// pskSecret is PSKSecret, but only logs an error: without the secret, the server goes on and
// refuses clients with a pre-shared key of their own.
func (s *Server) pskSecret() *[noise.KeyLen]byte {
	secret, err := PSKSecret(s.cfg)
	if err != nil {
		slog.Error("clients with a pre-shared key of their own can't come in", "error", err)
	}
	return secret
}

const eventPSKSecret = "psk secret"

// tellPSKSecret sends the worker the secret, if there is one. It must arrive before the
// registry with the client that the secret was made for.
func (s *Server) tellPSKSecret(c *privsep.Conn) {
	if secret := s.pskSecret(); secret != nil {
		c.Tell(eventPSKSecret, secret)
	}
}

// In the worker, from here on:

// takePSKSecret receives, in the worker, what tellPSKSecret sends.
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
