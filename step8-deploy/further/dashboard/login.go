package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step7-auth/identity"
)

// account is the name that passwords count against: the page has one account.
const account = "admin"

// A Door lets in who has the password and a one-time code. Its methods are safe for concurrent use.
//
// Step 7 checks passwords: one at a time, because each takes 64 MiB; with a growing wait after wrong
// ones, per address and in all; and an address that the right one came from before does not wait for
// others' guesses.
type Door struct {
	passwords *identity.Passwords
	owner     *identity.Client
	codes     *Codes
}

// NewDoor returns the Door for a login.
func NewDoor(l *Login, now time.Time) *Door {
	return &Door{
		passwords: identity.NewPasswords(),
		owner:     &identity.Client{Name: account, Password: l.password},
		codes:     NewCodes(l.secret, now),
	}
}

// ErrWrong is the answer to a wrong password, and to a right one with a wrong code: who guesses one of
// them is not told when it is right.
var ErrWrong = errors.New("wrong password or code")

// Enter returns nil for the right password and code. Otherwise the error is ErrWrong, a WaitError,
// identity.ErrBusy, or that of ctx.
func (d *Door) Enter(ctx context.Context, from netip.Addr, password, code string) error {
	err := d.passwords.Check(ctx, d.owner, identity.Source{Addr: from}, account, password)
	if err == nil {
		if err = d.codes.Check(code, time.Now()); err != nil {
			slog.Warn("somebody has the password, but not the code: if that was not you, change the password by 'stepvpn-web passwd'", "peer", from)
		}
	}
	throttled, is := errors.AsType[*identity.ThrottledError](err)
	switch {
	case is:
		return WaitError(throttled.Wait)
	case errors.Is(err, identity.ErrWrongPassword), errors.Is(err, ErrWrongCode):
		return ErrWrong
	}
	return err
}
