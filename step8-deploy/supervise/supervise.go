// Package supervise keeps a client connected: it connects, notices that the
// connection is lost, waits, and connects again, until it is told to stop.
//
// Introduced in step 8.
//
//	    ┌─────────────────── after a wait, or at once ───────────────────┐
//	    ▼                                                                │
//	connecting ─── packets pass ─────▶ up ─── the session ends ────▶ waiting
//	    │   │                         ▲  ▼                             ▲ ▲
//	    │   └───── they don't ────▶ degraded ─── the session ends ─────┘ │
//	    └────────── no server answers, or the session ends ──────────────┘
//
// A session alone does not show that packets pass. Other code finds that out, and reports it
// (see Judge); until then the state is still connecting. The session goes on either way. Only
// a caller without such code leaves Config.Judged unset: then a session is up when it begins.
// A session ends when its server is silent, when this host moves to another network, or when
// the server or the operator ends it.
//
// A Supervisor owns neither the host's routes and DNS nor the session: it calls
// the functions that it was given. The caller keeps its changes to the host in place
// while the supervisor reconnects, so that nothing leaves outside of the tunnel, and
// undoes them when Run returns. (With kill_switch = false it undoes them after each session.)
//
// This file says what a Supervisor is told, except by Judge. Run, in run.go, is the state
// machine that does what is written here; status.go has the states, and Judge, which moves
// between up and degraded; refused.go has Refused.
//
// # When it tries again
//
// A round asks each address of each server once (of a name, 8 at most), one after
// another, never two at the same time: with two, the server would see one client fight with itself.
// An address has 8 s to answer (Config.Try); meanwhile, the session that is being opened
// repeats its handshake message after 0.5 s, 1 s, 2 s and so on (package secure).
// After a round without success the wait is 1 s, then twice as long each time, up
// to 30 s, each 20 % more or less, so that the clients of a server that comes
// back do not all come at once. After a session that was up for 30 s, the waits begin
// at 1 s again.
//
// A change of the network ends the wait; it also ends a session if the route to the
// server has changed. So does a jump of the clock, which shows that the machine was
// suspended. Rounds never begin less than a second apart.
//
// A server that refuses (see Refused) is not asked again for 4 to 6 minutes, whatever
// happens to the network: asking more often would not change its answer. After that it
// is asked again, so that a client that was revoked by mistake comes back by itself. Only
// changed settings end that time early, as they make another Supervisor.
//
// # Which server
//
// Each round looks up the servers' names again. The servers are asked in the order of
// the list, except that the server of the last session comes first: if it was only
// restarted, it is back soonest. While a connection to a later server works, the
// client does not go back to an earlier one. Addresses of one name alternate between
// IPv6 and IPv4 (RFC 8305, section 4).
package supervise

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
)

// Times, in the order of the text above.
const (
	minWait     = 1 * time.Second
	maxWait     = 30 * time.Second
	stableAfter = 30 * time.Second // a connection that was up for this long counts as good
	minGap      = 1 * time.Second  // from the start of one round to that of the next
	refusedWait = 5 * time.Minute  // 20 % more or less, as all waits

	// DefaultTry is the time that one address has to answer.
	DefaultTry = 8 * time.Second
)

// A Config says what to keep connected, and how. Resolve, Connect, Route and
// Changed are called by one goroutine at a time, except Route; see there.
type Config struct {
	// Servers are asked in this order. There must be at least one.
	Servers []config.Endpoint

	// Resolve looks up a name through the underlay (see Resolver). It is not called for an
	// address.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)

	// Connect connects to a server, calls up when there is a session, moves
	// packets, and returns when the connection is lost or when ctx ends. Its
	// error says why; see Refused. It calls up once, and on its own
	// goroutine.
	Connect func(ctx context.Context, server netip.AddrPort, up func()) error

	// Route describes the route to a server in the underlay: two descriptions must be equal
	// if a session survives the change from one route to the other. It is called before
	// Connect and when the network has changed, from any goroutine. If it is nil, every
	// change of the network ends the session.
	Route func(server netip.AddrPort) (string, error)

	// Changed is called with each new status, in order. It must not block. It may be nil.
	Changed func(Status)

	// Judged says that a session is Up only when Judge says so, and not when it begins.
	Judged bool

	// Try is the time that one address has to answer; 0 is DefaultTry.
	Try time.Duration

	// Silence is the error for an address that has not answered in that time; nil stands for
	// ErrSilence. A chapter after step 8 has servers that are silent for other reasons.
	Silence error
}

// A Supervisor keeps one client connected. Its methods are safe for concurrent use; Run may
// be called only once.
type Supervisor struct {
	cfg  Config
	wake chan struct{} // holds one token when something has changed since the round began

	telling sync.Mutex // one call of Changed at a time; taken before mu

	mu         sync.Mutex // protects what follows
	status     Status
	attempt    *attempt             // the try or connection under way, or nil
	lastServer config.Endpoint      // of the last session that was up
	refused    map[string]time.Time // until when not to ask a server, by Endpoint.String
}

// An attempt is a try to connect, or a connection.
type attempt struct {
	server netip.AddrPort
	route  string
	cancel context.CancelCauseFunc
	up     bool // its session has begun (State Up says more: packets pass); protected by Supervisor.mu
}

// New returns a Supervisor that does nothing until Run is called.
func New(cfg Config) *Supervisor {
	if cfg.Try == 0 {
		cfg.Try = DefaultTry
	}
	if cfg.Silence == nil {
		cfg.Silence = ErrSilence
	}
	return &Supervisor{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		status:  Status{State: Connecting, Since: time.Now()},
		refused: make(map[string]time.Time),
	}
}

// Why a session is ended from outside.
var (
	errNetwork = app.Hint(errors.New("the network has changed"), "There is nothing to do: the client reconnects.")
	errClock   = app.Hint(errors.New("the clock has jumped: the machine was suspended"), "There is nothing to do: the client reconnects.")
	// ErrSilence ends the ctx of Connect when an address has had its time, unless Config.Silence does.
	ErrSilence = app.Hint(errors.New("no answer: the server does not run, has other keys or an older version, or a firewall blocks the way"),
		"Check that the server runs, that its port is open in all firewalls on the way, and that server_key is its key.")
)

// NetworkChanged tells the Supervisor that routes, addresses or links of the host have
// changed.
func (s *Supervisor) NetworkChanged() {
	s.mu.Lock()
	under := s.attempt
	up := under != nil && under.up
	s.mu.Unlock()
	if under != nil && s.cfg.Route != nil {
		route, err := s.cfg.Route(under.server)
		switch {
		case err == nil && route != under.route:
		case up: // the session survives this; if there is no route now, the old one may come back
			return
		default: // this try may still succeed; if it fails, the next one need not wait
			under = nil
		}
	}
	s.interrupt(under, errNetwork)
}

// ClockJumped tells the Supervisor that time has passed during which this program did not
// run.
func (s *Supervisor) ClockJumped() {
	s.mu.Lock()
	under := s.attempt
	s.mu.Unlock()
	s.interrupt(under, errClock)
}

// interrupt ends the attempt under, if it is not nil, and a wait.
func (s *Supervisor) interrupt(under *attempt, why error) {
	if under != nil {
		under.cancel(why)
	}
	s.wakeUp()
}

func (s *Supervisor) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}
