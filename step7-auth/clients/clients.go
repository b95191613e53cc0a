// Package clients has the commands that a server's operator gives about clients:
// init makes the server's key and an empty registry of package identity, add,
// list, passwd and revoke edit that, and public-key prints what a key file's owner
// may tell others. Introduced in step 7.
//
// A running server notices by itself that the registry has changed.
//
// The server's own key never leaves the server. 'clients add' finds the public
// key that belongs to it, and puts that into the client's file.
package clients

import (
	"cmp"
	"context"
	"flag"
	"fmt"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// Defaults are the files that a command uses if no flag names others.
type Defaults struct {
	Registry string // of the clients
	Key      string // the server's private key

	// Format defines the flags of add that only the client's file is about, and
	// returns how to write that. nil stands for the text of an identity.Profile.
	Format func() func(name string, p *identity.Profile) (string, error)

	// Check refuses a registry with which the server would not start. It may be nil.
	Check func(*identity.Registry) error

	// OwnPSK makes the pre-shared key of one client, by its public key. If it is nil,
	// none has one of its own.
	OwnPSK func(noise.PublicKey) (*[noise.KeyLen]byte, error)

	// Seen says when a client was last connected. If it is nil, the list does not.
	Seen func(*identity.Client) string

	// Login is what the file of a client needs that gives a password; "" stands for
	// a line of an identity.Profile.
	Login string
}

// check is Check, for the registry that an edit would make.
func (d Defaults) check(draft *identity.Draft) error {
	if d.Check == nil {
		return nil
	}
	return d.Check(draft.Registry)
}

// login says what the file of a client needs that gives a password.
func (d Defaults) login(name string) string {
	return cmp.Or(d.Login, fmt.Sprintf("the line 'user %s'", name))
}

// Commands returns all commands.
func Commands(d Defaults) []app.Command {
	return []app.Command{
		{Name: "init", About: "Init makes what a new server needs: its private key, and a registry without clients.", Setup: d.init},
		{Name: "add", Args: "NAME", About: "Add lets a client in: it makes a key, and prints the client's file.", Setup: d.add},
		{Name: "list", About: "List shows who may come in.", Setup: d.list},
		{Name: "passwd", Args: "NAME", About: "Passwd has a client give a password too.", Setup: d.passwd},
		{Name: "revoke", Args: "NAME", About: "Revoke keeps a client out from now on.", Setup: d.revoke},
		{Name: "public-key", About: "Public-key prints the public key that belongs to a private one.", Setup: d.publicKey},
	}
}

// registry defines the flag that all but one have.
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
