package clients

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// This file has the commands that show and change the registry: list, passwd and revoke.
// (add.go has the one that adds to it.) Each method defines the flags of its command, and
// returns the function that runs it.

func (d Defaults) list() func(context.Context, []string) error {
	registry := d.registry()
	return func(context.Context, []string) error {
		r, err := identity.Load(*registry)
		if err != nil {
			return err
		}
		now := time.Now()
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		head := []string{"NAME", "PUBLIC KEY", "ADDRESSES", "EXPIRES", "PASSWORD"}
		if d.Seen != nil {
			head = append(head, "LAST SEEN")
		}
		fmt.Fprintln(w, strings.Join(head, "\t"))
		for c := range r.All() {
			cells := row(c, now)
			if d.Seen != nil {
				cells = append(cells, d.Seen(c))
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		return w.Flush()
	}
}

// row returns a client's line in the list.
func row(c *identity.Client, now time.Time) []string {
	addrs, expires, password := "any", "never", "no"
	if len(c.Addrs) > 0 {
		addrs = identity.FormatAddrs(c.Addrs)
	}
	if !c.Expires.IsZero() {
		expires = c.Expires.Format(time.RFC3339)
	}
	if c.Expired(now) {
		expires += " (over)"
	}
	if c.NeedsPassword() {
		password = "yes"
	}
	return []string{c.Name, noise.FormatKey(c.Key), addrs, expires, password}
}

func (d Defaults) passwd() func(context.Context, []string) error {
	registry := d.registry()
	remove := flag.Bool("delete", false, "no longer ask the client for a password")
	return func(ctx context.Context, args []string) error {
		name := args[0]
		// Check this before the question, so that nobody chooses a password in vain.
		r, err := identity.Load(*registry)
		if err != nil {
			return err
		}
		if _, err := r.Find(name); err != nil {
			return err
		}
		var hash *identity.PasswordHash
		done := fmt.Sprintf("%s: comes in without a password now. Its client file no longer needs %s.\n", name, d.login(name))
		if !*remove {
			if hash, err = NewPassword(ctx, name); err != nil {
				return err
			}
			done = fmt.Sprintf("%s: comes in with its key and this password. Its client file needs %s.\n", name, d.login(name))
		}
		if err := identity.Edit(*registry, func(d *identity.Draft) error { return d.SetPassword(name, hash) }); err != nil {
			return err
		}
		_, err = fmt.Print(done)
		return err
	}
}

func (d Defaults) revoke() func(context.Context, []string) error {
	registry := d.registry()
	return func(_ context.Context, args []string) error {
		name := args[0]
		done := fmt.Sprintf("%s: revoked. A running server cuts it off now.\n", name)
		err := identity.Edit(*registry, func(d *identity.Draft) error {
			if _, ok := d.ByName(name); !ok {
				if when, ok := d.Revoked(name); ok {
					done = fmt.Sprintf("%s: was revoked already, on %s.\n", name, when)
					return nil
				}
			}
			return d.Revoke(name, time.Now())
		})
		if err != nil {
			return err
		}
		_, err = fmt.Print(done)
		return err
	}
}
