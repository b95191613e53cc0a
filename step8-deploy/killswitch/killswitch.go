// Package killswitch keeps this host silent while its tunnel is down: what would
// go through the tunnel goes nowhere. Introduced in step 8.
//
// Its policy rules stand behind those of packages guard and route, so the kernel
// asks them only when these send a packet nowhere: before the first connection,
// between two, and when the client was killed. A person would type
//
//	ip -4 rule add priority 22506 fwmark 22505 lookup main
//	ip -4 rule add priority 22508 ipproto udp dport 53 prohibit
//	ip -4 rule add priority 22508 ipproto tcp dport 53 prohibit
//	ip -4 rule add priority 22509 lookup main suppress_prefixlength 0
//	ip -4 rule add priority 22510 unreachable
//
// and the same with -6. The client's own socket, which carries the mark, gets out.
// Nobody asks for names. The local network stays reachable. Everything else is
// told at once that there is no way.
//
// The rules alone have a hole, as those of package guard have: a program may tie
// its socket to an interface, and needs no right for it. So the firewall looks at what
// leaves in the end, in a table of our own, inet stepvpn_killswitch, that is in
// force while the tunnel is up, too. What leaves carries the mark, goes by lo or the
// tunnel's device, or to a network that has a route of its own.
//
// Rules and table depend on no device and no process: after kill -9 they stay, and the
// host stays silent until a client starts or Recover is called.
//
// What is not covered is what packages guard and route do not cover. Before the
// client has started for the first time after a boot there are no rules yet: have
// it start before the network is up.
package killswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

// Priorities of the rules, right behind those of package route.
const (
	priorityOwn     = route.PriorityTunnel + 1
	priorityAnswers = route.PriorityTunnel + 2
	priorityNames   = route.PriorityTunnel + 3
	priorityLocal   = route.PriorityTunnel + 4
	priorityRest    = route.PriorityTunnel + 5
)

// A Config says what stays silent.
type Config struct {
	Device string         // the tunnel's, which need not be there
	Only   []netip.Prefix // the networks that go through the tunnel; nil: everything
	Names  bool           // nobody asks for names
}

// A Switch is the rules in force. Its methods may be called by several goroutines.
type Switch struct {
	cfg Config
	off func() error

	mu      sync.Mutex
	answers func() error // removes the rule for the server's answers; guarded by mu
	opened  bool         // by Off; guarded by mu
}

// On makes the rules and the table. What a killed client has left is taken over,
// without a moment in which it is not there. It takes the program nft.
func On(c Config) (*Switch, error) {
	if err := hostnet.MayChange(); err != nil {
		return nil, err
	}
	list := []policy.Change{c.firewall()}
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		for _, r := range rules(f, c.Only, c.Names) {
			list = append(list, r.Keep())
		}
	}
	off, err := policy.CarryOut(list)
	if err != nil {
		return nil, err
	}
	return &Switch{cfg: c, off: off, answers: func() error { return nil }}, nil
}

// Server says which server the client is about to talk to, in place of the one
// before; network is "udp" or "tcp". A host that checks where packets come from
// (rp_filter, also 2) looks for the way back to the server without the mark, and
// would drop its answers.
func (s *Switch) Server(network string, server netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answers(); err != nil {
		return err
	}
	r := route.Answers(network, server, priorityAnswers)
	undo, err := policy.CarryOut([]policy.Change{r.Keep()})
	if err != nil {
		return err
	}
	s.answers = undo
	return nil
}

// NetworkChanged looks anew which networks are local.
func (s *Switch) NetworkChanged() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened {
		return nil
	}
	return s.cfg.firewall().Do()
}

// Off removes the rules. It may be called more than once.
func (s *Switch) Off() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = true
	return errors.Join(s.answers(), s.off())
}

// Recover removes what a killed client has left. Nothing is no error.
func Recover() error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		ours, _, err := policy.Rules(f, isOurs)
		if err != nil {
			return err
		}
		if err := policy.Remove(ours); err != nil {
			return err
		}
	}
	return table.Recover()
}

func isOurs(r netlink.Rule) bool { return r.Priority >= priorityOwn && r.Priority <= priorityRest }

func rules(f hostnet.Family, only []netip.Prefix, names bool) []policy.Rule {
	list := []policy.Rule{route.Own(f, priorityOwn)}
	if names {
		list = append(list, guard.Refuse(f, priorityNames)...)
	}
	list = append(list, route.Local(f, priorityLocal))
	if only == nil {
		return append(list, policy.NewRefusal(f, priorityRest, unix.RTN_UNREACHABLE, "unreachable"))
	}
	for _, p := range f.Subnets(only) {
		r := policy.NewRefusal(f, priorityRest, unix.RTN_UNREACHABLE, fmt.Sprintf("to %v unreachable", p))
		r.To(p)
		list = append(list, r)
	}
	return list
}
