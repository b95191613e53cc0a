// Package clients has the commands by which a server's operator manages clients: init
// makes the server's key and an empty registry (package identity); add, passwd and revoke
// edit the registry, and list shows it; public-key prints the public half of a key file,
// which is no secret. Introduced in step 7.
//
// A running server notices by itself that the registry has changed.
//
// The server's private key never leaves the server: 'clients add' puts only the public key
// that belongs to it into the client's file.
package clients

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/netip"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// Defaults are the files that the commands use if no flag names others, and the parts of
// the commands that another program can replace, as step 8's does: its files have another
// form, and it knows when a client was last there.
type Defaults struct {
	Registry string // of the clients
	Key      string // the server's private key

	// Format makes the text of a client's file. nil stands for that of an identity.Profile.
	Format func(*identity.Client, *identity.Profile) (string, error)

	// Addrs chooses fixed addresses for a client that is added without -addr. It is called
	// while nobody else can change the registry, and may return none. It may be nil.
	Addrs func(*identity.Registry) ([]netip.Addr, error)

	// Check returns an error for a registry with which the server would not start. It may
	// be nil.
	Check func(*identity.Registry) error

	// OwnPSK makes a pre-shared key for the client that has this public key. It may be nil if
	// no Addition asks for that.
	OwnPSK func(noise.PublicKey) (*[noise.KeyLen]byte, error)

	// Seen says when a client was last connected. If it is nil, list does not show that.
	Seen func(*identity.Client) string

	// Login names what a client's file needs if the client gives a password; "" stands for
	// the line 'user NAME' of an identity.Profile.
	Login string
}

// fits calls Check, if there is one, for the registry that an edit would make.
func (d Defaults) fits(draft *identity.Draft) error {
	if d.Check == nil {
		return nil
	}
	return d.Check(draft.Registry)
}

// login names what a client's file needs if the client gives a password.
func (d Defaults) login(name string) string {
	return cmp.Or(d.Login, fmt.Sprintf("the line 'user %s'", name))
}

// Commands returns all commands.
func Commands(d Defaults) []app.Command {
	return []app.Command{
		{Name: "init", About: "Init makes what a new server needs: its private key, and a registry without clients.", Setup: d.init},
		{Name: "add", Args: "NAME", About: "Add lets a client in: it makes a key, and prints the client's file.", Setup: d.add},
		{Name: "list", About: "List shows the clients that may come in.", Setup: d.list},
		{Name: "passwd", Args: "NAME", About: "Passwd sets a password that the client must give as well.", Setup: d.passwd},
		{Name: "revoke", Args: "NAME", About: "Revoke keeps a client out from now on.", Setup: d.revoke},
		{Name: "public-key", About: "Public-key prints the public key that belongs to a private one.", Setup: d.publicKey},
	}
}

// registry defines the flag -registry, which all commands but one have.
func (d Defaults) registry() *string {
	return flag.String("registry", d.Registry, "`file` with the clients")
}

func (d Defaults) publicKey() func(context.Context, []string) error {
	file := flag.String("key", d.Key, "`file` with the private key")
	return func(context.Context, []string) error {
		key, err := identity.LoadServerKey(*file)
		if err != nil {
			return err
		}
		_, err = fmt.Println(noise.FormatKey(key.Public()))
		return err
	}
}
