// Package supervise keeps a client connected: it connects, notices that the
// connection is lost, waits, and connects again, until it is told to stop.
//
// Introduced in step 8.
//
//	        ┌───────────────── lost: after a wait, or at once ──────────────────┐
//	        ▼                                                                   │
//	connecting ── a server answers ──▶ up ── silence, or another network ──▶ waiting
//	        │                          ▲ ▼                                      ▲
//	        │                       degraded                                    │
//	        └───────────────────── no server answers ──────────────────────────┘
//
// A Supervisor owns neither the host's routes and DNS nor the session: it calls
// the functions that it was given. What the caller has taken of the host stays
// taken while the supervisor reconnects, so that nothing leaves outside of the
// tunnel; the caller gives it back when Run returns.
//
// That there is a session does not show that packets pass. Whether they do, others find
// out and tell (see Judge); the session goes on either way.
//
// # When it tries again
//
// A round asks each address of each server once, one after another, never two at
// the same time: with two, the server would see one client fight with itself.
// After a round without success the wait is 1 s, then twice as long each time, up
// to 30 s, each 20 % more or less, so that the clients of a server that comes
// back do not all come at once. Who was up for 30 s begins at 1 s again.
//
// A changed network ends the wait, and a session whose way to the server is not
// the same any more. So does a clock that jumped, which is what a machine sees
// that was suspended. Rounds do not begin less than a second apart.
//
// A server that refuses (see Refused) is not asked again for 5 minutes, whatever
// happens: it has said no, and will not change its mind sooner because it is
// asked more often. It is asked again then, since whoever was revoked by mistake
// comes back without anybody at the machine.
//
// # Which server
//
// The names of the servers are looked up anew in each round. Their order is that
// of the list, except that the server of the last session comes first: when it is
// only restarted, it is back soonest. There is no way back from a later server
// to an earlier one while the connection works. Addresses of one name
// alternate between IPv6 and IPv4 (RFC 8305, section 4).
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
	stableAfter = 30 * time.Second // up for so long, a connection counts as good
	minGap      = 1 * time.Second  // from the start of one round to that of the next
	refusedWait = 5 * time.Minute

	// DefaultTry is the time that one address has to answer.
	DefaultTry = 8 * time.Second
)

// A Config says what to keep connected, and how. Resolve, Connect, Route and
// Changed are called by one goroutine at a time, except Route; see there.
type Config struct {
	// Servers are asked in this order. There must be at least one.
	Servers []config.Endpoint

	// Resolve looks a name up, through the underlay (see
	// Resolver). An address is not looked up.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)

	// Connect connects to a server, calls up when there is a session, moves
	// packets, and returns when the connection is lost or when ctx ends. Its
	// error says why; see Refused. It calls up once, and on its own
	// goroutine.
	Connect func(ctx context.Context, server netip.AddrPort, up func()) error

	// Route describes the route to a server in the underlay: two are the same if a
	// session does not notice the change from one to the other. It is called
	// before Connect and when the network has changed, by any goroutine. If it
	// is nil, every change of the network ends the session.
	Route func(server netip.AddrPort) (string, error)

	// Changed is told each new status, in their order. It must not block. It may be nil.
	Changed func(Status)

	// Judged says that a session is Up when Judge says so, and not when it begins.
	Judged bool

	// Try is the time that one address has to answer; 0 is DefaultTry.
	Try time.Duration
}

// A Supervisor keeps one client connected. Its methods may be called from any
// goroutine; Run only once.
type Supervisor struct {
	cfg  Config
	wake chan struct{} // holds one token when something has changed since the round began

	telling sync.Mutex // one call of Changed at a time; taken before mu

	mu         sync.Mutex // protects what follows
	status     Status
	attempt    *attempt             // the try or connection under way, or nil
	lastServer config.Endpoint      // of the last session that was up
	refused    map[string]time.Time // until when not to ask, by Endpoint.String
}

// An attempt is a try to connect, or a connection.
type attempt struct {
	server netip.AddrPort
	route  string
	cancel context.CancelCauseFunc
	up     bool // protected by Supervisor.mu
}

// New returns a Supervisor that does nothing until Run is called.
func New(cfg Config) *Supervisor {
	if cfg.Try == 0 {
		cfg.Try = DefaultTry
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
	errNetwork = app.Hint(errors.New("the network has changed"), "Nothing is to be done: it connects anew.")
	errClock   = app.Hint(errors.New("the clock has jumped: the machine was suspended"), "Nothing is to be done: it connects anew.")
	// ErrSilence ends the ctx of Connect when an address has had its time.
	ErrSilence = app.Hint(errors.New("no answer: the server does not run, has other keys or an older version, or a firewall is on the way"),
		"Check that the server runs, that its port is open in all firewalls on the way, and that server_key is its key.")
)

// NetworkChanged tells that routes, addresses or links of the host have changed.
func (s *Supervisor) NetworkChanged() {
	s.mu.Lock()
	under := s.attempt
	up := under != nil && under.up
	s.mu.Unlock()
	if under != nil && s.cfg.Route != nil {
		route, err := s.cfg.Route(under.server)
		switch {
		case err == nil && route != under.route:
		case up: // it does not mind; and if there is no way now, the old one may come back
			return
		default: // this try may still work, and if not, the next one need not wait
			under = nil
		}
	}
	s.interrupt(under, errNetwork)
}

// ClockJumped tells that time has passed that this program did not notice.
func (s *Supervisor) ClockJumped() {
	s.mu.Lock()
	under := s.attempt
	s.mu.Unlock()
	s.interrupt(under, errClock)
}

// interrupt ends a session, if it is not nil, and a wait.
func (s *Supervisor) interrupt(under *attempt, why error) {
	if under != nil {
		under.cancel(why)
	}
	s.wakeUp()
}

func (s *Supervisor) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it is told already
	}
}
