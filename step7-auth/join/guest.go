package join

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// A guest is what a client says and hears beside packets.
type guest struct {
	instance [8]byte
	needed   chan struct{} // a login is needed; holds one
	probed   func(greet.Probed)

	mu      sync.Mutex // guards all below
	time    uint64     // in the last hello
	welcome *greet.Welcome
	login   greet.Login
	waiting bool // for the result of the login
}

// hello returns the payload of an initiation. Its time always increases.
func (g *guest) hello() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.time = max(g.time+1, uint64(time.Now().UnixNano()))
	return greet.Hello{Time: g.time, Instance: binary.BigEndian.Uint64(g.instance[:])}.Append(nil)
}

// answer takes the payload of a response.
func (g *guest) answer(payload []byte) error {
	w, err := greet.ParseAnswer(payload)
	g.mu.Lock()
	defer g.mu.Unlock()
	if behind, ok := errors.AsType[*greet.Behind](err); ok {
		g.time = max(g.time, behind.Time)
		return secure.ErrAskAgain
	}
	if err != nil {
		return err
	}
	switch {
	case g.welcome == nil:
		g.welcome = &w
	case !slices.Equal(g.welcome.Addrs, w.Addrs):
		return &Changed{fmt.Sprintf("other addresses, %v instead of %v,", w.Addrs, g.welcome.Addrs)}
	case !slices.Equal(g.welcome.Settings, w.Settings):
		return &Changed{"other settings"}
	}
	g.waiting = w.Login
	if !w.Login {
		return nil
	}
	if !g.login.Valid() {
		return app.Hint(errors.New("the server asks for a user name and a password"),
			"The client file names no user: ask the server's owner which one, and add a line 'user NAME'.")
	}
	g.login.Attempt++
	select {
	case g.needed <- struct{}{}:
	default:
	}
	return nil
}

// in reports whether packets can pass.
func (g *guest) in() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.waiting
}

// sayLogin sends the login whenever it is needed, until ctx ends. It is repeated
// until it is answered, for messages get lost and the server may be busy.
func (g *guest) sayLogin(ctx context.Context, conn *secure.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.needed:
		}
		for tries := 0; !g.in(); tries++ {
			if tries == loginTries {
				conn.Fail(fmt.Errorf("the server has not answered to the login, though it was said %d times", tries))
				return
			}
			g.mu.Lock()
			m := g.login.Append(nil)
			g.mu.Unlock()
			conn.Control(greet.KindLogin, m)
			select {
			case <-ctx.Done():
				return
			case <-time.After(loginRetry):
			}
		}
	}
}

// control takes a control message of the server.
func (g *guest) control(kind byte, content []byte) error {
	switch kind {
	case greet.KindResult:
		return g.result(content)
	case greet.KindProbed:
		p, err := greet.ParseProbed(content)
		if err != nil {
			return fmt.Errorf("the server's answer to a probe: %w", err)
		}
		if g.probed != nil {
			g.probed(p)
		}
	}
	return nil // or of a later version
}

// result takes what came of a login.
func (g *guest) result(content []byte) error {
	r, err := greet.ParseResult(content)
	if err != nil {
		return fmt.Errorf("the server's answer to the login: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting || r.Attempt != g.login.Attempt {
		return nil // of an earlier one
	}
	if r.Refused != nil {
		return fmt.Errorf("the server refuses: %w", r.Refused)
	}
	g.waiting = false
	return nil
}
