package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// init is the command that makes a server: its key and an empty registry.
func (d Defaults) init() func(context.Context, []string) error {
	registry := d.registry()
	key := flag.String("key", d.Key, "`file` for the server's private key")
	return func(context.Context, []string) error { return newServer(*key, *registry) }
}

// newServer makes both files, or neither, and prints what to do next.
func newServer(key, registry string) (err error) {
	for _, name := range []string{key, registry} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return app.Hint(fmt.Errorf("%s exists already, and nothing is changed", name),
				"To start over, move %s and %s away first. With another key, the server is a stranger to all its clients.", key, registry)
		}
	}
	if err := keyfile.Create(key); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(key)
		}
	}()
	if err := identity.Create(registry); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(registry)
		}
	}()
	private, err := identity.LoadServerKey(key)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s: the server's private key. It stays on this machine.\n"+
		"%s: the registry. No client may come in yet: add one with 'clients add'.\n"+
		"The server's public key, which clients know it by: %s\n",
		key, registry, noise.FormatKey(private.Public()))
	return err
}
