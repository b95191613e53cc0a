package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// A running server checks passwords, as Passwords; the operator's commands hash them, at the
// end of this file.

// Limits on a Passwords.
const (
	maxChecks  = 1  // at a time: a check takes 64 MiB, and 4 processors for 0.1 s
	maxWaiting = 64 // more that wait for their check
)

// Errors of Check. They are sentences for the client.
var (
	ErrWrongPassword = errors.New("wrong user name or password")
	ErrBusy          = errors.New("the server has too many passwords to check: try again in a moment")
)

// A ThrottledError says that a password was not checked, because too many wrong ones
// came before it, for the same identity or from the same network. Wait says how long to
// wait before the next attempt.
type ThrottledError struct{ Wait time.Duration }

func (e *ThrottledError) Error() string {
	wait := (e.Wait + time.Second - 1).Truncate(time.Second)
	return fmt.Sprintf("too many wrong passwords: try again in %v", wait)
}

// Passwords checks passwords, at a bounded cost of memory and time: one at a time, while
// up to 64 more wait. After a wrong password, its sender has to wait before the next: 1 s
// at first, then twice as long each time, up to 5 min. All senders together can give 60
// wrong ones at once, then one per second. An owner who gives the right password from
// elsewhere does not have to wait because of others' guesses: see throttle. Passwords is
// safe for concurrent use.
type Passwords struct {
	waiting chan struct{} // has an element for each password that waits or is checked
	checks  chan struct{} // has an element for each password that is checked
	unknown *PasswordHash // of a password that nobody knows
	derive  func(*PasswordHash, string) []byte

	mu       sync.Mutex
	throttle throttle // guarded by mu
}

// NewPasswords returns a Passwords that has seen no wrong password so far.
func NewPasswords() *Passwords {
	unknown := &PasswordHash{cost: defaultCost, salt: make([]byte, defaultSalt), key: make([]byte, defaultKey)}
	rand.Read(unknown.salt)
	rand.Read(unknown.key)
	return &Passwords{
		waiting: make(chan struct{}, maxChecks+maxWaiting),
		checks:  make(chan struct{}, maxChecks),
		unknown: unknown,
		derive:  (*PasswordHash).derive,
	}
}

// Check returns nil if the password is that of the client and user is its name.
// c is the client that has proved to have its key, or nil if no key was asked for and
// no client has the user name. Wrong passwords count against c, or against the user name
// if c is nil, together with the place that they come from.
//
// The error is ErrWrongPassword, ErrBusy, a ThrottledError, or that of ctx. An
// unknown user, a wrong name, and a client that has no password get the same
// answer after the same work as a wrong password, as long as all hashes are of
// the cost that HashPassword gives them.
//
// Check returns after the wait in the queue and about 0.1 s. ctx ends the wait.
func (p *Passwords) Check(ctx context.Context, c *Client, from Source, user, password string) error {
	if checkPassword(password) != nil {
		return ErrWrongPassword // at once: the length is no secret from its sender
	}
	id := identityOf(c, user)
	if err := p.throttled(id, from); err != nil {
		return err
	}

	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return ErrBusy
	}
	select {
	case p.checks <- struct{}{}:
		defer func() { <-p.checks }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}

	// The password counts as wrong until it is known to be right, so that guesses
	// at the same time do not all slip through.
	attempt, err := p.begin(id, from)
	if err != nil {
		return err
	}
	hash := p.unknown
	known := c != nil && c.Password != nil && c.Name == user
	if known {
		hash = c.Password
	}
	right := subtle.ConstantTimeCompare(p.derive(hash, password), hash.key) == 1
	if !known || !right {
		return ErrWrongPassword
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.throttle.succeed(attempt, time.Now())
	return nil
}

// identityOf returns what wrong passwords count against.
func identityOf(c *Client, user string) string {
	switch {
	case c != nil:
		return c.Name
	case CheckName(user) != nil:
		return "?" // all names that nobody can have
	}
	return "?" + user
}

// throttled returns an error if the identity has to wait.
func (p *Passwords) throttled(id string, from Source) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusal(p.throttle.attempt(id, from), time.Now())
}

// begin notes an attempt, unless the identity has to wait.
func (p *Passwords) begin(id string, from Source) (attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a := p.throttle.attempt(id, from)
	if err := p.refusal(a, now); err != nil {
		return a, err
	}
	p.throttle.fail(a, now)
	return a, nil
}

// refusal needs p.mu.
func (p *Passwords) refusal(a attempt, now time.Time) error {
	own, total := p.throttle.wait(a, now)
	switch {
	case own > 0:
		return &ThrottledError{own}
	case total > 0:
		return ErrBusy
	}
	return nil
}

// HashPassword returns what the registry keeps of a password: its hash, with a salt of its
// own. It takes about 0.1 s and 64 MiB.
func HashPassword(password string) (*PasswordHash, error) {
	if err := checkPassword(password); err != nil {
		return nil, err
	}
	return hashPassword(password, defaultCost), nil
}

// MaxPassword is the length of the longest password, in bytes: a login message has no
// room for a longer one (package protocol).
const MaxPassword = 255

func hashPassword(password string, c cost) *PasswordHash {
	h := &PasswordHash{cost: c, salt: make([]byte, defaultSalt), key: make([]byte, defaultKey)}
	rand.Read(h.salt)
	h.key = h.derive(password)
	return h
}

// derive returns the key that h would have if it were a hash of this password.
func (h *PasswordHash) derive(password string) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.cost.passes, h.cost.memory, h.cost.lanes, uint32(len(h.key)))
}

func checkPassword(password string) error {
	if n := len(password); n < 1 || n > MaxPassword {
		return fmt.Errorf("a password has 1 to %d bytes, not %d", MaxPassword, n)
	}
	return nil
}
