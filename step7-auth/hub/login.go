package hub

import (
	"context"
	"sync"
	"time"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/protocol"
)

// A login is a client's login that waits for its check.
type login struct {
	client *client
	protocol.Login
}

// logins are the attempts of one client.
type logins struct {
	mu       sync.Mutex // guards all below
	checking bool       // one of them waits or is being checked
	wrong    int
	result   *protocol.Result // of the last one
}

// login handles a login message. Other goroutines check the password, which is slow by
// design.
func (h *Hub) login(c *client, l protocol.Login) {
	if r := h.attempt(c, l); r != nil {
		h.tellResult(c, *r)
	}
}

// attempt returns the result of a login if it is known. Otherwise it queues the login for
// a check, unless one is under way or the queue is full, and returns nil.
func (h *Hub) attempt(c *client, l protocol.Login) *protocol.Result {
	a := &c.attempts
	a.mu.Lock()
	defer a.mu.Unlock()
	switch state := c.state.Load(); {
	case state == open:
		return &protocol.Result{Attempt: l.Attempt}
	case state != loggingIn || a.checking:
		return nil
	case a.result != nil && a.result.Attempt == l.Attempt:
		return a.result
	}
	select {
	case h.logins <- login{c, l}:
		a.checking = true
	default: // the client will send it again
		h.drops.Add(cookie.UnderLoad)
	}
	return nil
}

// checkLogins checks passwords until ctx ends.
func (h *Hub) checkLogins(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-h.logins:
			h.checkLogin(ctx, l)
		}
	}
}

func (h *Hub) checkLogin(ctx context.Context, l login) {
	c := l.client
	if c.state.Load() == gone {
		return
	}
	err := h.cfg.Admission.Login(ctx, c.key, Source{c.instance, c.from.Addr()}, l.User, l.Password)
	if ctx.Err() != nil {
		return
	}
	if err == nil && h.settle(c, time.Now()) {
		c.log.Info("logged in", "user", l.User)
		h.recheck(c, time.Now())
	}
	if err != nil {
		c.log.Warn("a login has failed", "user", l.User, "error", err)
	}
	result, wrong := c.attempts.finish(l.Attempt, err)
	h.tellResult(c, result) // this does nothing if the client has gone
	if wrong >= maxLogins {
		h.end(c, tooManyLogins, time.Now())
	}
}

// finish notes the result of an attempt, and returns it, with the number of wrong attempts
// so far.
func (a *logins) finish(attempt byte, err error) (result protocol.Result, wrong int) {
	result.Attempt = attempt
	if err != nil {
		why := reasonOf(err, secure.Rejected{Reason: err.Error()})
		result.Refused = &why
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checking, a.result = false, &result
	if err != nil {
		a.wrong++
	}
	return result, a.wrong
}

func (h *Hub) tellResult(c *client, r protocol.Result) {
	c.Control(protocol.KindResult, r.Append(nil))
}
