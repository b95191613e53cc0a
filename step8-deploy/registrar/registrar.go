// Package registrar changes the registry of a server's clients: it adds them, and makes their
// files, keeps them out, and says until when they may come in. Introduced in step 8.
//
// The server's keeper does that for whoever may use its socket for changes (routes.go); the
// commands do it by themselves when no server runs. Each change is made while no other program
// can change the registry, and either happens as a whole or not at all.
//
// A client of the WireGuard protocol (phone.go) gets more than the others: fixed addresses, and a
// file that is complete.
package registrar

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/clients"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
)

// A Registrar changes one server's registry. Its methods are safe for concurrent use.
type Registrar struct {
	// Settings are those of the server, with all of its subnets. They may be nil for the commands,
	// which then do without what only the settings say.
	Settings *config.Server
	// Files names the registry, the server's key (as a file, or the public one itself), and the file with
	// the pre-shared key. Its other fields are not used.
	Files clients.Addition
}

// New returns a Registrar of the server with these settings. New clients get to know the server by the
// key in a file.
func New(s *config.Server, keyFile string) *Registrar {
	return &Registrar{Settings: s, Files: clients.Addition{Registry: s.Clients, Key: keyFile, PSK: s.PSK}}
}

// Add adds a client. It calls handOut with the client's file, while nobody else can change the registry:
// if that fails, nothing is changed.
func (r *Registrar) Add(q control.AddRequest, handOut func(file string) error) (c control.Change, err error) {
	c.Client = q.Name
	a := r.Files
	a.Server, a.PublicKey, a.Addrs, a.Expires, a.OwnPSK = q.Server, q.PublicKey, q.Addresses, q.Expires, q.OwnPSK
	if q.PasswordHash != "" {
		if a.Password, err = identity.ParsePasswordHash(q.PasswordHash); err != nil {
			return c, app.Usage("-password-hash: %w", err)
		}
	}
	d := clients.Defaults{
		Check: func(after *identity.Registry) error {
			c.Registry = fmt.Sprintf("%x", after.Digest())
			return r.fits(after)
		},
		OwnPSK: r.ownPSK,
		Format: clientFile(r.transport(q.Transport)),
	}
	if r.Settings != nil {
		a.Server = withPort(a.Server, r.Settings)
	}
	if q.WireGuard {
		p, err := r.phone(q, &a)
		if err != nil {
			return c, err
		}
		d.Addrs, d.Format = p.addrs, p.file
	}
	if a.OwnPSK && r.Settings == nil {
		return c, app.Usage("-own-psk needs the server's settings: name them by -settings")
	}
	err = d.Add(a, q.Name, handOut)
	return c, err
}

// transport returns by what the packets of a new client go.
func (r *Registrar) transport(asked string) string {
	if asked == "" && r.Settings != nil && !slices.Contains(r.Settings.Transports, "udp") {
		return "tcp"
	}
	return cmp.Or(asked, "udp")
}

// fits returns an error for a registry with which the server would not start.
func (r *Registrar) fits(after *identity.Registry) error {
	if r.Settings == nil {
		return nil
	}
	return admission.Check(after, r.Settings.Subnets)
}

func (r *Registrar) ownPSK(client noise.PublicKey) (*[noise.KeyLen]byte, error) {
	return keeper.NewOwnPSK(r.Settings, client)
}

// withPort returns HOST:PORT, with the server's port if there is none.
func withPort(host string, s *config.Server) string {
	if host == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return net.JoinHostPort(host, strconv.Itoa(int(s.Listen[0].Port())))
}

// SettingsFile is where a client's file belongs on the client.
const SettingsFile = "/etc/stepvpn/client.toml"

// clientFile returns what makes the file of a client of our own protocol.
func clientFile(transport string) func(*identity.Client, *identity.Profile) (string, error) {
	return func(_ *identity.Client, p *identity.Profile) (string, error) {
		text, err := config.ClientTemplate{
			File:       SettingsFile,
			Servers:    []string{p.Server},
			ServerKey:  noise.FormatKey(p.ServerKey),
			Transport:  transport,
			PrivateKey: secretText(&p.PrivateKey),
			PSK:        secretText(p.PresharedKey),
			User:       p.User,
		}.Render()
		return string(text), err
	}
}

// secretText returns a key in base64, or "" for none.
func secretText[K ~[config.KeySize]byte](key *K) string {
	if key == nil || *key == *new(K) {
		return ""
	}
	return noise.FormatKey(*key)
}

// Look returns what the registry says about a client.
func (r *Registrar) Look(name string) (control.Client, error) {
	all, err := identity.Load(r.Files.Registry)
	if err != nil {
		return control.Client{}, err
	}
	c, err := all.Find(name)
	if err != nil {
		return control.Client{}, notFound{err}
	}
	now := time.Now()
	answer := control.ClientOf(c, now)
	AddLimits(r.Settings, c, &answer, now)
	return answer, nil
}

// Digest returns the digest of the registry as it is now.
func (r *Registrar) Digest() (string, error) {
	text, _, err := atomicfile.Read(r.Files.Registry, identity.MaxFile, atomicfile.Follow)
	return fmt.Sprintf("%x", sha256.Sum256(text)), err
}

// edit changes the registry, and returns its digest afterwards.
func (r *Registrar) edit(name string, change func(*identity.Draft, *control.Change) error) (c control.Change, err error) {
	c.Client = name
	err = identity.Edit(r.Files.Registry, func(d *identity.Draft) error {
		if err := change(d, &c); err != nil {
			return err
		}
		c.Registry = fmt.Sprintf("%x", d.Digest())
		return nil
	})
	return c, err
}

// Revoke keeps a client out. If there is none of this name, but there was, it changes nothing,
// and the answer says when that one was revoked.
func (r *Registrar) Revoke(name string) (control.Change, error) {
	return r.edit(name, func(d *identity.Draft, c *control.Change) error {
		if _, there := d.ByName(name); !there {
			if when, was := d.Revoked(name); was {
				c.Revoked = when
				return nil
			}
		}
		if _, err := d.Find(name); err != nil {
			return notFound{err}
		}
		return d.Revoke(name, time.Now())
	})
}

// Never is the time for a client that does not expire.
const Never = "never"

// Expire sets the moment from which a client is refused: see control.When. One that is over cuts it off.
func (r *Registrar) Expire(name, when string) (control.Change, error) {
	var at time.Time
	if when != Never {
		var err error
		if at, err = clients.Expiry(when, time.Now()); err != nil {
			return control.Change{}, app.Usage("%w, nor %s", err, Never)
		}
	}
	c, err := r.set(name, func(d *identity.Draft) error { return d.SetExpiry(name, at) })
	c.Expires = at
	return c, err
}

// Rename gives a client another name. Its file stays as it is.
func (r *Registrar) Rename(name, to string) (control.Change, error) {
	if err := identity.CheckName(to); err != nil {
		return control.Change{}, app.Usage("%w", err)
	}
	c, err := r.set(name, func(d *identity.Draft) error { return d.Rename(name, to) })
	c.Client = to
	return c, err
}

// SetPassword sets the hash of the password that a client must give; "" means that it needs none.
func (r *Registrar) SetPassword(name, hash string) (control.Change, error) {
	var h *identity.PasswordHash
	if hash != "" {
		var err error
		if h, err = identity.ParsePasswordHash(hash); err != nil {
			return control.Change{}, app.Usage("-password-hash: %w", err)
		}
	}
	return r.set(name, func(d *identity.Draft) error { return d.SetPassword(name, h) })
}

// set changes something about a client that there must be.
func (r *Registrar) set(name string, change func(*identity.Draft) error) (control.Change, error) {
	return r.edit(name, func(d *identity.Draft, _ *control.Change) error {
		if _, err := d.Find(name); err != nil {
			return notFound{err}
		}
		return change(d)
	})
}

// notFound is the error that there is no such client.
type notFound struct{ error }

func (n notFound) Unwrap() error { return n.error }
