package dashboard

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
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
// Step 7 checks passwords: with a growing wait after wrong ones, per address and in all. That wait must not
// keep the owner out: at loopback, every user of this host and every tunnel of SSH has the same address. So there is
// none for a browser that has logged in before, which shows a mark. (Nobody guesses a password of 100 random bits,
// see setup.go, by being quick; and codes have a wait of their own.) One password is checked at a time, because that takes
// 64 MiB, and neither strangers nor other users of this host can take the places of a known browser in the queue.
type Door struct {
	passwords *identity.Passwords
	owner     *identity.Client
	codes     *Codes
	mark      string        // of a browser that has logged in with this secret
	checks    chan struct{} // has an element while a password is checked

	strangers, local, known chan struct{} // have an element for each that waits or is checked
}

// maxWaiting is how many of each kind may wait for their check.
const maxWaiting = 16

// NewDoor returns the Door for a login.
func NewDoor(l *Login, now time.Time) *Door {
	mac := hmac.New(sha256.New, l.secret)
	mac.Write([]byte("a browser that has logged in"))
	queue := func() chan struct{} { return make(chan struct{}, maxWaiting) }
	return &Door{
		mark: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), checks: make(chan struct{}, 1),
		strangers: queue(), local: queue(), known: queue(),
		passwords: identity.NewPasswords(),
		owner:     &identity.Client{Name: account, Password: l.password},
		codes:     NewCodes(l.secret, now),
	}
}

// ErrWrong is the answer to a wrong password, and to a right one with a wrong code: who guesses one of
// them is not told when it is right.
var ErrWrong = errors.New("wrong password or code")

// Mark returns what a browser shows that has logged in before. It says so only as long as the secret is the same.
func (d *Door) Mark() string { return d.mark }

// check checks the password of somebody with this mark, which may be "".
func (d *Door) check(ctx context.Context, from netip.Addr, mark, password string) error {
	passwords, queue := d.passwords, d.strangers
	switch {
	case subtle.ConstantTimeCompare([]byte(mark), []byte(d.mark)) == 1:
		passwords, queue = identity.NewPasswords(), d.known // which knows of no wrong ones
	case from.IsLoopback():
		queue = d.local
	}
	select {
	case queue <- struct{}{}:
		defer func() { <-queue }()
	default:
		return identity.ErrBusy
	}
	select {
	case d.checks <- struct{}{}:
		defer func() { <-d.checks }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return passwords.Check(ctx, d.owner, identity.Source{Addr: from}, account, password)
}

// Enter returns nil for the right password and code; mark is what the browser shows, or "". Otherwise the error is ErrWrong, a WaitError,
// identity.ErrBusy, or that of ctx.
func (d *Door) Enter(ctx context.Context, from netip.Addr, mark, password, code string) error {
	err := d.check(ctx, from, mark, password)
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
