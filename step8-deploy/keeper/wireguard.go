package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/config"
)

// This file has the server's key for clients that speak the WireGuard protocol.
//
// It is another key than the one for our own clients: a key is used with one handshake only,
// and mac1, which is made with it, tells the two kinds of initiations apart.

// WireGuardKeyFile returns the name of the file with the server's private key for clients of
// the WireGuard protocol. It is beside the registry, which is beside the server's key.
func WireGuardKeyFile(cfg *config.Server) string {
	return filepath.Join(filepath.Dir(cfg.Clients), "wireguard.key")
}

// WireGuardKey returns that key. If there is none yet, it makes one: the server calls this when
// it starts, and so does the command that adds a client of that kind. Only the owner of the
// registry's folder can. A file that others may read is refused, and never replaced.
func WireGuardKey(cfg *config.Server) (noise.PrivateKey, error) {
	name := WireGuardKeyFile(cfg)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if err := keyfile.Create(name); err != nil {
			return noise.PrivateKey{}, fmt.Errorf("making the server's key for clients of the WireGuard protocol: %w", err)
		}
	}
	return keyfile.Read(name)
}

// checkWireGuardKey returns an error if there is such a key, and it can't be used.
func checkWireGuardKey(cfg *config.Server) error {
	name := WireGuardKeyFile(cfg)
	if _, err := os.Lstat(name); !cfg.WireGuard || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := keyfile.Read(name)
	return err
}
