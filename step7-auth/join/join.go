// Package join connects a client to a hub: it asks for a session, logs in if the
// server wants that, and learns which addresses it has. Introduced in step 7.
package join

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

const (
	loginRetry = time.Second // the login is said again until it is answered
	loginTries = 30
)

// A Config is what a client needs to know.
type Config struct {
	// Handshake names the suite and the pattern, IK or IKpsk2, and holds the keys.
	Handshake noise.Config
	// User and Password are for a server that asks for them. They go through the
	// session only. Empty if there are none.
	User, Password string

	Drops     *link.Drops   // required
	Tries     int           // as in secure.Config
	Keepalive time.Duration // as in secure.Config
}

// A Session is the encrypted Link to the server, with what the server has handed
// out. If the server hands out something else later, say because it has lost its
// memory, or if it puts an end to the session, the Link fails.
//
// The error is, or wraps, a *secure.Rejected if the server has said why, and a
// *Changed if what it hands out has changed.
type Session struct {
	*secure.Conn
	greet.Welcome

	stop func()
}

// Changed is the error of a Session that can't go on with what the server hands
// out now. A new one can.
type Changed struct{ what string }

func (c *Changed) Error() string { return "the server hands out " + c.what + " now: connect again" }

// Client asks the server at the other end of lower for a session, and returns
// when packets can pass. The Session owns lower, and closes it; so does a Client
// that fails.
func Client(ctx context.Context, lower link.Link, cfg Config) (*Session, error) {
	l := greet.Login{User: cfg.User, Password: cfg.Password}
	if l != (greet.Login{}) && !l.Valid() {
		lower.Close()
		return nil, app.Usage("a user name has 1 to %d bytes, and a password 1 to %d", greet.MaxUser, greet.MaxPassword)
	}
	g := &guest{login: l, needed: make(chan struct{}, 1)}
	rand.Read(g.instance[:])
	conn, err := secure.Client(ctx, lower, secure.Config{
		Handshake:  cfg.Handshake,
		NewPayload: g.hello,
		OnPayload:  g.answer,
		OnControl:  g.control,
		Drops:      cfg.Drops,
		Tries:      cfg.Tries,
		Keepalive:  cfg.Keepalive,
	})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	var login sync.WaitGroup
	login.Go(func() { g.sayLogin(running, conn) })
	s := &Session{Conn: conn, stop: func() {
		stop()
		login.Wait()
	}}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.ReadUntil(g.in); err != nil {
		s.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("logging in: %w", err)
	}
	s.Welcome = *g.welcome
	return s, nil
}

// Close tells the server that the session ends, and closes the Link below.
func (s *Session) Close() error {
	err := s.Conn.Close()
	s.stop()
	return err
}

// A guest is what a client says and hears beside packets.
type guest struct {
	instance [8]byte
	needed   chan struct{} // a login is needed; holds one

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
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
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
			"Give them with -user and -password-file.")
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
	if kind != greet.KindResult {
		return nil // of a later version
	}
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
