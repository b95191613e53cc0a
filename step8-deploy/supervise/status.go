package supervise

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
)

// A State is what a Supervisor is doing.
type State int

const (
	Connecting State = iota // Status.Awaits says what it waits for
	Up                      // packets pass
	Degraded                // there is a session, but something does not work
	Waiting                 // until the next round
	Stopped                 // Run has returned
)

var stateNames = [...]string{Connecting: "connecting", Up: "up", Degraded: "degraded", Waiting: "waiting", Stopped: "stopped"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// A Status says what a Supervisor is doing, and why.
type Status struct {
	State  State
	Since  time.Time       // of State
	Server config.Endpoint // the server that is asked or connected, unless State is Waiting
	Addr   netip.AddrPort  // its address, once that is known
	// Session is when the session with it has begun, or zero if there is none.
	Session time.Time
	// Err is why there is no connection; nil if there is one, or before the first try.
	Err error
	// Reason is what keeps packets from passing, and Cure what to do about it: a sentence
	// each. Both are empty if State is Up, or as long as nothing is known.
	Reason, Cure string
	Next         time.Time // when the next round begins, if State is Waiting
}

// LooksUp reports whether Connecting waits for the server's address.
func (s Status) LooksUp() bool {
	_, err := netip.ParseAddr(s.Server.Host)
	return s.Server.Host != "" && err != nil && !s.Addr.IsValid()
}

// Awaits returns what Connecting waits for.
func (s Status) Awaits() string {
	switch {
	case !s.Session.IsZero():
		return "the first packet that comes back through the tunnel"
	case s.LooksUp():
		return "the address of " + s.Server.Host
	case s.Addr.IsValid():
		return fmt.Sprintf("an answer from %v", s.Addr)
	}
	return fmt.Sprintf("an answer from %v", s.Server)
}

// String returns the status in one line, such as "connecting to vpn.example.org:5555:
// waiting for an answer from 203.0.113.10:5555".
func (s Status) String() string {
	switch s.State {
	case Up:
		return fmt.Sprintf("connected to %v (%v)", s.Server, s.Addr)
	case Degraded:
		return fmt.Sprintf("connected to %v (%v), but %s. %s", s.Server, s.Addr, s.Reason, s.Cure)
	case Waiting:
		return fmt.Sprintf("not connected: %v; next try at %s. %s", s.Err, s.Next.Format(time.TimeOnly), s.Cure)
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("connecting to %v: waiting for %s", s.Server, s.Awaits())
}

// Status returns the current status.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Judge tells the Supervisor that packets pass in the current session (reason is ""), or what
// keeps them from passing, and what to do about it. Without a session it does nothing; it
// never ends one. See Config.Judged.
func (s *Supervisor) Judge(reason, cure string) {
	s.set(func(st *Status) {
		switch {
		case st.Session.IsZero():
		case reason == "":
			st.State, st.Reason, st.Cure = Up, "", ""
		default:
			st.State, st.Reason, st.Cure = Degraded, reason, cure
		}
	})
}

// defaultCure is the cure for errors that have none of their own.
const defaultCure = "The client tries again by itself; 'stepvpn check' checks the settings, and the server's log says which clients it refuses."

// failed records why there is no connection.
func (st *Status) failed(err error) {
	st.Err, st.Session, st.Reason, st.Cure = err, time.Time{}, "", ""
	if err != nil {
		st.Reason, st.Cure = err.Error(), defaultCure
		if hint := app.HintOf(err); hint != "" {
			st.Cure = hint
		}
	}
}

// set changes the status, and calls Changed.
func (s *Supervisor) set(change func(*Status)) {
	s.telling.Lock() // so that calls of Changed are in the order of the changes
	defer s.telling.Unlock()
	s.mu.Lock()
	old := s.status.State
	change(&s.status)
	if s.status.State != old {
		s.status.Since = time.Now()
	}
	now := s.status
	s.mu.Unlock()
	if s.cfg.Changed != nil {
		s.cfg.Changed(now)
	}
}
