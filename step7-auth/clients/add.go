package clients

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/prompt"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// An addition is one run of the command add, which enters a client in the registry and
// makes the client's file. It holds the values of the flags.
type addition struct {
	registry  *string
	server    *string
	key       *string
	serverKey *string
	publicKey *string
	psk       *string
	addrs     *string
	expires   *string
	password  *bool
	out       *string
	format    func(*identity.Client, *identity.Profile) (string, error)
	fits      func(*identity.Draft) error
	choose    func(*identity.Registry) ([]netip.Addr, error)     // nil: the server does that when the client comes
	ownPSK    func(noise.PublicKey) (*[noise.KeyLen]byte, error) // nil: the client gets none
}

func (d Defaults) add() func(context.Context, []string) error {
	a := addition{
		registry:  d.registry(),
		server:    flag.String("server", "", "the server's `HOST:PORT`, as clients reach it"),
		key:       flag.String("key", d.Key, "`file` with the server's private key; the client gets the public one"),
		serverKey: flag.String("server-key", "", "the server's public `key` itself, if the private key is not on this machine"),
		publicKey: flag.String("public-key", "", "the client's public `key`, if it has made one and keeps the private key to itself"),
		psk:       flag.String("psk", "", "`file` with the pre-shared key, if the server asks for one"),
		addrs:     flag.String("addr", "", "fixed `addresses` in the tunnel, separated by commas"),
		expires:   flag.String("expires", "", "refuse the client from this `date` on: 2026-12-31, 2026-12-31T18:00:00Z, or after a time such as 720h"),
		password:  flag.Bool("password", false, "ask for a password, which the client must then give as well"),
		out:       flag.String("out", "", "write the client's file to this new `file`, instead of printing it"),
	}
	a.format, a.fits, a.choose = profileFile, d.check, d.Addrs
	if d.Format != nil {
		a.format = d.Format()
	}
	own := new(bool)
	if d.OwnPSK != nil {
		flag.BoolVar(own, "own-psk", false, "give it a pre-shared key of its own, which no other client has")
	}
	return func(ctx context.Context, args []string) error {
		if *own {
			a.ownPSK = d.OwnPSK
		}
		return a.run(ctx, args[0])
	}
}

func (a *addition) run(ctx context.Context, name string) error {
	client, err := a.client(name)
	if err != nil {
		return err
	}
	profile, err := a.profile()
	if err != nil {
		return err
	}
	if client.Key, err = a.clientKey(profile); err != nil {
		return err
	}
	if a.ownPSK != nil {
		client.OwnPSK = true
		if profile.PresharedKey, err = a.ownPSK(client.Key); err != nil {
			return err
		}
	}
	if *a.password {
		if err := a.check(client); err != nil {
			return err
		}
		if client.Password, err = newPassword(ctx, name); err != nil {
			return err
		}
		profile.User = name
	}
	return a.save(client, profile)
}

// check returns an error if it is already clear that save will fail, so that nobody has
// to choose a password in vain.
func (a *addition) check(client *identity.Client) error {
	if *a.out != "" {
		if err := identity.CheckNewProfile(*a.out); err != nil {
			return err
		}
	}
	return identity.Edit(*a.registry, func(d *identity.Draft) error { return d.CheckNew(client) })
}

// save adds the client and hands out its file, or does neither.
func (a *addition) save(client *identity.Client, profile *identity.Profile) error {
	created := false
	err := identity.Edit(*a.registry, func(d *identity.Draft) (err error) {
		if len(client.Addrs) == 0 && a.choose != nil {
			if client.Addrs, err = a.choose(d.Registry); err != nil {
				return err
			}
		}
		if err := d.Add(client); err != nil {
			return err
		}
		if err := a.fits(d); err != nil {
			return err
		}
		text, err := a.format(client, profile)
		if err != nil {
			return err
		}
		if *a.out == "" {
			_, err := fmt.Print(text)
			return err
		}
		err = identity.CreateProfile(*a.out, text)
		created = err == nil
		return err
	})
	if err != nil {
		if created {
			os.Remove(*a.out)
		}
		return err
	}
	if *a.out != "" {
		fmt.Printf("%s: the client file of %s. Copy it to the client over a safe channel, such as scp.\n", *a.out, client.Name)
	}
	return nil
}

// profileFile returns the text of a client file as in step 7.
func profileFile(c *identity.Client, p *identity.Profile) (string, error) {
	return fmt.Sprintf("# Client file of %s. Anybody who has it can come in: keep it secret.\n%s", c.Name, p.Text()), nil
}

// profile returns what the client's file says about the server.
func (a *addition) profile() (*identity.Profile, error) {
	if *a.server == "" {
		return nil, app.Usage("-server is missing: at which HOST:PORT do clients reach the server?")
	}
	if err := identity.CheckServer(*a.server); err != nil {
		return nil, app.Usage("-server %w", err)
	}
	p := &identity.Profile{Server: *a.server}
	if *a.serverKey != "" {
		key, err := identity.ParseKey(*a.serverKey)
		if err != nil {
			return nil, app.Usage("-server-key %w", err)
		}
		p.ServerKey = key
	} else {
		key, err := identity.LoadServerKey(*a.key)
		if err != nil {
			return nil, err
		}
		p.ServerKey = key.Public()
	}
	if *a.psk != "" {
		key, err := keyfile.Read(*a.psk)
		if err != nil {
			return nil, err
		}
		p.PresharedKey = &key
	}
	return p, nil
}

// client returns the client without its key.
func (a *addition) client(name string) (*identity.Client, error) {
	c := &identity.Client{Name: name}
	if err := identity.CheckName(name); err != nil {
		return nil, app.Usage("%w", err)
	}
	var err error
	if *a.addrs != "" {
		if c.Addrs, err = identity.ParseAddrs(*a.addrs); err != nil {
			return nil, app.Usage("-addr: %w", err)
		}
	}
	if *a.expires != "" {
		now := time.Now()
		if c.Expires, err = expiry(*a.expires, now); err != nil {
			return nil, app.Usage("-expires: %w", err)
		}
		if c.Expired(now) {
			return nil, app.Usage("-expires: %s is in the past", *a.expires)
		}
	}
	return c, nil
}

// expiry reads a moment, or a duration from now on.
func expiry(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(d).Truncate(time.Second), nil
	}
	return identity.ParseExpiry(s)
}

// clientKey returns the client's public key. If it makes the key pair itself, it puts the
// private key into the profile.
func (a *addition) clientKey(p *identity.Profile) (noise.PublicKey, error) {
	if *a.publicKey == "" {
		p.PrivateKey = noise.GenerateKey()
		return p.PrivateKey.Public(), nil
	}
	key, err := identity.ParseKey(*a.publicKey)
	if err != nil {
		return key, app.Usage("-public-key %w", err)
	}
	if key == p.ServerKey {
		return key, app.Usage("-public-key is the server's own: give the client's")
	}
	if !usable(key) {
		return key, app.Usage("-public-key %s belongs to no private key", *a.publicKey)
	}
	return key, nil
}

// usable reports whether a secret can be agreed on with the owner of a public key. With
// a few keys the secret would always be zero (RFC 7748, section 6.1), and every handshake
// would fail.
func usable(key noise.PublicKey) bool {
	public, err := ecdh.X25519().NewPublicKey(key[:])
	if err != nil {
		return false
	}
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return false
	}
	_, err = own.ECDH(public)
	return err == nil
}

// newPassword asks for a password and returns its hash.
func newPassword(ctx context.Context, name string) (*identity.PasswordHash, error) {
	password, err := prompt.NewSecret(ctx, "New password of "+name)
	if err != nil {
		return nil, err
	}
	return identity.HashPassword(password)
}
