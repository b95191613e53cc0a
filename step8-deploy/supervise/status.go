package supervise

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/step8-deploy/config"
)

// A State is what a Supervisor is doing.
type State int

const (
	Connecting State = iota // looking a name up, or waiting for a server's answer
	Up                      // packets can pass
	Waiting                 // until the next round
	Stopped                 // Run has returned
)

var stateNames = [...]string{Connecting: "connecting", Up: "up", Waiting: "waiting", Stopped: "stopped"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// A Status says what a Supervisor is doing, and why.
type Status struct {
	State  State
	Since  time.Time
	Server config.Endpoint // the one that is asked or connected, if State is Connecting or Up
	Addr   netip.AddrPort  // its address, once that is known
	Err    error           // why there is no connection; nil if State is Up, or before the first try
	Next   time.Time       // when the next round begins, if State is Waiting
}

// String returns the status in one line, such as "connecting to vpn.example.org:5555".
func (s Status) String() string {
	switch s.State {
	case Up:
		return fmt.Sprintf("connected to %v (%v)", s.Server, s.Addr)
	case Waiting:
		return fmt.Sprintf("not connected: %v; next try at %s", s.Err, s.Next.Format(time.TimeOnly))
	case Stopped:
		return "stopped"
	}
	if s.Server == (config.Endpoint{}) {
		return "starting"
	}
	return fmt.Sprintf("connecting to %v", s.Server)
}

// Status returns the present status.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// set changes the status, and tells.
func (s *Supervisor) set(change func(*Status)) {
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
