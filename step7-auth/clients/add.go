package clients

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/prompt"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// An Addition says which client is to be entered in the registry, and how its file is made. The
// texts are as the flags of 'clients add' have them.
type Addition struct {
	Registry  string
	Server    string
	Key       string
	ServerKey string
	PublicKey string
	PSK       string
	Addrs     string
	Expires   string
	OwnPSK    bool
	Password  *identity.PasswordHash // nil: it needs none
}

// Flags defines the flags that give an Addition its values.
func (a *Addition) Flags(d Defaults) {
	flag.StringVar(&a.Registry, "registry", d.Registry, "`file` with the clients")
	flag.StringVar(&a.Server, "server", "", "the server's `HOST:PORT`, as clients reach it")
	flag.StringVar(&a.Key, "key", d.Key, "`file` with the server's private key; the client gets the public one")
	flag.StringVar(&a.ServerKey, "server-key", "", "the server's public `key` itself, if the private key is not on this machine")
	flag.StringVar(&a.PublicKey, "public-key", "", "the client's public `key`, if it has made one and keeps the private key to itself")
	flag.StringVar(&a.PSK, "psk", "", "`file` with the pre-shared key, if the server asks for one")
	flag.StringVar(&a.Addrs, "addr", "", "fixed `addresses` in the tunnel, separated by commas")
	flag.StringVar(&a.Expires, "expires", "", "refuse the client from this `date` on: 2026-12-31, 2026-12-31T18:00:00Z, or after a time such as 720h")
}

func (d Defaults) add() func(context.Context, []string) error {
	var a Addition
	a.Flags(d)
	password := flag.Bool("password", false, "ask for a password, which the client must then give as well")
	out := flag.String("out", "", "write the client's file to this new `file`, instead of printing it")
	return func(ctx context.Context, args []string) error {
		if *password {
			if err := d.check(a, args[0], *out); err != nil {
				return err
			}
			var err error
			if a.Password, err = NewPassword(ctx, args[0]); err != nil {
				return err
			}
		}
		made := false
		err := d.Add(a, args[0], func(text string) (err error) {
			made, err = HandOut(text, *out)
			return err
		})
		if err != nil {
			if made {
				os.Remove(*out)
			}
			return err
		}
		SayWhere(*out, args[0])
		return nil
	}
}

// check returns an error if it is already clear that Add will fail, so that nobody has to choose
// a password in vain.
func (d Defaults) check(a Addition, name, out string) error {
	client, _, err := d.entry(a, name)
	if err != nil {
		return err
	}
	if out != "" {
		if err := identity.CheckNewProfile(out); err != nil {
			return err
		}
	}
	return identity.Edit(a.Registry, func(d *identity.Draft) error { return d.CheckNew(client) })
}

// Add adds the client of this name, and hands out its file, or does neither: it calls handOut with
// the file's text while nobody else can change the registry.
func (d Defaults) Add(a Addition, name string, handOut func(text string) error) error {
	client, profile, err := d.entry(a, name)
	if err != nil {
		return err
	}
	format := d.Format
	if format == nil {
		format = profileFile
	}
	return identity.Edit(a.Registry, func(draft *identity.Draft) (err error) {
		if len(client.Addrs) == 0 && d.Addrs != nil {
			if client.Addrs, err = d.Addrs(draft.Registry); err != nil {
				return err
			}
		}
		if err := draft.Add(client); err != nil {
			return err
		}
		if err := d.fits(draft); err != nil {
			return err
		}
		text, err := format(client, profile)
		if err != nil {
			return err
		}
		return handOut(text)
	})
}

// HandOut writes a client's file to a new file, and reports whether it has made that; or if out is "",
// it prints the text.
func HandOut(text, out string) (made bool, err error) {
	if out == "" {
		_, err := fmt.Print(text)
		return false, err
	}
	err = identity.CreateProfile(out, text)
	return err == nil, err
}

// SayWhere says where the file of a client is that HandOut has made.
func SayWhere(out, name string) {
	if out != "" {
		fmt.Printf("%s: the client file of %s. Copy it to the client over a safe channel, such as scp.\n", out, name)
	}
}

// entry returns the client's entry for the registry, and what its file says.
func (d Defaults) entry(a Addition, name string) (*identity.Client, *identity.Profile, error) {
	client, err := a.client(name)
	if err != nil {
		return nil, nil, err
	}
	profile, err := a.profile()
	if err != nil {
		return nil, nil, err
	}
	if client.Key, err = a.clientKey(profile); err != nil {
		return nil, nil, err
	}
	if a.OwnPSK {
		client.OwnPSK = true
		if profile.PresharedKey, err = d.OwnPSK(client.Key); err != nil {
			return nil, nil, err
		}
	}
	if client.Password = a.Password; client.Password != nil {
		profile.User = name
	}
	return client, profile, nil
}

// profileFile returns the text of a client file as in step 7.
func profileFile(c *identity.Client, p *identity.Profile) (string, error) {
	return fmt.Sprintf("# Client file of %s. Anybody who has it can come in: keep it secret.\n%s", c.Name, p.Text()), nil
}

// profile returns what the client's file says about the server.
func (a *Addition) profile() (*identity.Profile, error) {
	if a.Server == "" {
		return nil, app.Usage("-server is missing: at which HOST:PORT do clients reach the server?")
	}
	if err := identity.CheckServer(a.Server); err != nil {
		return nil, app.Usage("-server %w", err)
	}
	p := &identity.Profile{Server: a.Server}
	if a.ServerKey != "" {
		key, err := identity.ParseKey(a.ServerKey)
		if err != nil {
			return nil, app.Usage("-server-key %w", err)
		}
		p.ServerKey = key
	} else {
		key, err := identity.LoadServerKey(a.Key)
		if err != nil {
			return nil, err
		}
		p.ServerKey = key.Public()
	}
	if a.PSK != "" {
		key, err := keyfile.Read(a.PSK)
		if err != nil {
			return nil, err
		}
		p.PresharedKey = &key
	}
	return p, nil
}

// client returns the client without its key.
func (a *Addition) client(name string) (*identity.Client, error) {
	c := &identity.Client{Name: name}
	if err := identity.CheckName(name); err != nil {
		return nil, app.Usage("%w", err)
	}
	var err error
	if a.Addrs != "" {
		if c.Addrs, err = identity.ParseAddrs(a.Addrs); err != nil {
			return nil, app.Usage("-addr: %w", err)
		}
	}
	if a.Expires != "" {
		now := time.Now()
		if c.Expires, err = Expiry(a.Expires, now); err != nil {
			return nil, app.Usage("-expires: %w", err)
		}
		if c.Expired(now) {
			return nil, app.Usage("-expires: %s is in the past", a.Expires)
		}
	}
	return c, nil
}

// Expiry reads a moment, or a duration from now on.
func Expiry(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(d).Truncate(time.Second), nil
	}
	return identity.ParseExpiry(s)
}

// clientKey returns the client's public key. If it makes the key pair itself, it puts the
// private key into the profile.
func (a *Addition) clientKey(p *identity.Profile) (noise.PublicKey, error) {
	if a.PublicKey == "" {
		p.PrivateKey = noise.GenerateKey()
		return p.PrivateKey.Public(), nil
	}
	key, err := identity.ParseKey(a.PublicKey)
	if err != nil {
		return key, app.Usage("-public-key %w", err)
	}
	if key == p.ServerKey {
		return key, app.Usage("-public-key is the server's own: give the client's")
	}
	if !usable(key) {
		return key, app.Usage("-public-key %s belongs to no private key", a.PublicKey)
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

// NewPassword asks for a password and returns its hash.
func NewPassword(ctx context.Context, name string) (*identity.PasswordHash, error) {
	password, err := prompt.NewSecret(ctx, "New password of "+name)
	if err != nil {
		return nil, err
	}
	return identity.HashPassword(password)
}
