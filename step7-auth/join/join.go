// Package join connects a client to a hub: it asks for a session, logs in if the
// server wants that, and learns which addresses it has. Introduced in step 7.
package join

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

const (
	loginRetry = time.Second // the login is sent again this often, until it is answered
	loginTries = 30
)

// A Config is what a client needs to know.
type Config struct {
	// Handshake names the suite and the pattern, IK or IKpsk2, and holds the keys.
	Handshake noise.Config
	// User and Password are for a server that asks for them. They travel only inside the
	// session. They are empty if there are none.
	User, Password string

	// Instance is the same in all sessions of one run of a program, so that the server
	// sees a new session as the continuation of the last. Zero stands for a random one
	// each time: the client of this step has only one session, and step 8's makes new
	// ones.
	Instance [8]byte

	// OnControl, if set, gets the control messages of kinds from protocol.FirstKind
	// on. As in secure.Config, it must be fast, and an error ends the Session. Step 8 has
	// such messages.
	OnControl func(kind byte, content []byte) error
	MTU       int // as in secure.Config

	Drops     *link.Drops   // required
	Tries     int           // as in secure.Config
	Keepalive time.Duration // as in secure.Config
}

// A Session is the encrypted Link to the server, with what the server has handed out.
// The Link fails if the server ends the session, or later hands out something else, for
// example because it has lost its state.
//
// The error is, or wraps, a *secure.Rejected if the server has given a reason, and a
// *Changed if what it hands out has changed.
type Session struct {
	*secure.Conn
	protocol.Welcome

	stop func()
}

// Changed is the error of a Session that can't go on because the server now hands out
// something else. A new Session can be started.
type Changed struct{ what string }

func (c *Changed) Error() string { return "the server now hands out " + c.what + ": connect again" }

// Client asks the server at the other end of lower for a session, and returns when
// packets can pass, or ctx ends. The Session owns lower, and closes it. If Client fails,
// it closes lower, too.
func Client(ctx context.Context, lower link.Link, cfg Config) (*Session, error) {
	l := protocol.Login{User: cfg.User, Password: cfg.Password}
	if l != (protocol.Login{}) && !l.Valid() {
		lower.Close()
		return nil, app.Usage("a user name has 1 to %d bytes, and a password 1 to %d", protocol.MaxUser, protocol.MaxPassword)
	}
	c := &conversation{login: l, onControl: cfg.OnControl, needed: make(chan struct{}, 1)}
	instance := cfg.Instance
	if instance == [8]byte{} {
		rand.Read(instance[:])
	}
	conn, err := secure.Client(ctx, lower, secure.Config{
		Handshake: cfg.Handshake,
		Payload:   protocol.Hello{Instance: binary.BigEndian.Uint64(instance[:])}.Append(nil),
		OnPayload: c.answer,
		OnControl: c.control,
		Drops:     cfg.Drops,
		Tries:     cfg.Tries,
		Keepalive: cfg.Keepalive,
		MTU:       cfg.MTU,
	})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	var login sync.WaitGroup
	login.Go(func() { c.sayLogin(running, conn) })
	s := &Session{Conn: conn, stop: func() {
		stop()
		login.Wait()
	}}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.ReadUntil(c.in); err != nil {
		s.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("logging in: %w", err)
	}
	s.Welcome = *c.welcome
	return s, nil
}

// Close tells the server that the session ends, and closes the Link below.
func (s *Session) Close() error {
	err := s.Conn.Close()
	s.stop()
	return err
}
