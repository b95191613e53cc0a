package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// This file is the client's side of welcome and login: it keeps the Welcome, sends the login until
// it is answered, and fails if the server later hands out something else.

// A conversation is what a client and its server tell each other besides packets.
type conversation struct {
	needed    chan struct{} // has an element if a login is needed; holds one
	onControl func(kind byte, content []byte) error

	mu      sync.Mutex // guards all below
	welcome *protocol.Welcome
	login   protocol.Login
	waiting bool // for the result of the login
}

// answer handles the payload of a response, a Welcome.
func (c *conversation) answer(payload []byte) error {
	w, err := protocol.ParseWelcome(payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.welcome == nil:
		c.welcome = &w
	case !slices.Equal(c.welcome.Addrs, w.Addrs):
		return &Changed{fmt.Sprintf("other addresses (%v instead of %v)", w.Addrs, c.welcome.Addrs)}
	case !slices.Equal(c.welcome.Settings, w.Settings):
		return &Changed{"other settings"}
	}
	c.waiting = w.Login
	if !w.Login {
		return nil
	}
	if !c.login.Valid() {
		return app.Hint(errors.New("the server asks for a user name and a password"),
			"The client file names no user: ask the server's owner which one, and add a line 'user NAME'.")
	}
	c.login.Attempt++
	select {
	case c.needed <- struct{}{}:
	default:
	}
	return nil
}

// in reports whether packets can pass.
func (c *conversation) in() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.waiting
}

// sayLogin sends the login whenever it is needed, until ctx ends. It repeats the login
// until it is answered, as messages get lost and the server may be busy.
func (c *conversation) sayLogin(ctx context.Context, conn *secure.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.needed:
		}
		for tries := 0; !c.in(); tries++ {
			if tries == loginTries {
				conn.Fail(fmt.Errorf("the server has not answered the login, which was sent %d times", tries))
				return
			}
			c.mu.Lock()
			m := c.login.Append(nil)
			c.mu.Unlock()
			conn.Control(protocol.KindLogin, m)
			select {
			case <-ctx.Done():
				return
			case <-time.After(loginRetry):
			}
		}
	}
}

// control handles a control message of the server.
func (c *conversation) control(kind byte, content []byte) error {
	switch {
	case kind == protocol.KindResult:
		return c.result(content)
	case c.onControl != nil:
		return c.onControl(kind, content)
	}
	return nil // a newer server may send kinds that this client does not know
}

// result handles the server's answer to a login.
func (c *conversation) result(content []byte) error {
	r, err := protocol.ParseResult(content)
	if err != nil {
		return fmt.Errorf("the server's answer to the login: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting || r.Attempt != c.login.Attempt {
		return nil // the answer to an earlier attempt
	}
	if r.Refused != nil {
		return fmt.Errorf("the server refuses: %w", r.Refused)
	}
	c.waiting = false
	return nil
}
