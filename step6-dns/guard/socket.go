package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// A Socket lets a socket of the tunnel's own talk to a server or a nameserver outside of
// the tunnel, and past the rules of this package. The zero value is ready.
//
// The mark is enough to get out. But a host that checks where packets come from
// (rp_filter, 1 or 2; IPv4 only) asks the rules whether an answer could be answered,
// without the mark: it would find the tunnel, or that queries are refused, and drop
// the answer. So the answers get a rule that comes before all others. It must not let
// anybody else out, and so it names all that the kernel compares:
//
//	ip -4 rule add priority 22499 to 203.0.113.10 ipproto udp sport 34567 dport 53 uidrange 0-0 lookup main
//
// 34567 is the port that the socket is bound to, and nobody else meanwhile: over TCP
// with that server, over UDP with the same address of this host. With another of its
// addresses a program could have that port, too; but the rule is for root, for whom
// the kernel asks. Nor is it a hole when the client was killed and the port is free.
//
// Its methods may be called from several goroutines.
type Socket struct {
	// CarryOut makes the rule; nil does so at once, and tells the log.
	CarryOut func(policy.Rule) (undo func() error, err error)

	mu   sync.Mutex
	undo func() error // removes the rule of the last socket, if that has one; guarded by mu
}

// Control is meant as the Control of a transport, or of net.Dialer: it marks a socket
// before it is connected to address (see route.Mark), binds it to a port, and makes
// the rule, in the place of that of the socket before.
func (s *Socket) Control(network, address string, c syscall.RawConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.close(); err != nil {
		return err
	}
	if err := route.Mark(network, address, c); err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !to.Addr().Is4() {
		return nil // the check is of IPv4 alone
	}
	var port uint16
	if failed := c.Control(func(fd uintptr) { port, err = bind(int(fd)) }); failed != nil || err != nil {
		return errors.Join(failed, err)
	}
	rule := answers(strings.TrimSuffix(network, "4"), port, to)
	rule.Add().Undo() // of a client that was killed, and had this port by chance
	carryOut := s.CarryOut
	if carryOut == nil {
		carryOut = func(r policy.Rule) (func() error, error) { return policy.CarryOut([]policy.Change{r.Add()}, slog.Info) }
	}
	s.undo, err = carryOut(rule)
	return err
}

// Close removes the rule. It may be called more than once, before the socket is
// closed or after.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

func (s *Socket) close() error {
	if s.undo == nil {
		return nil
	}
	err := s.undo()
	s.undo = nil
	return err
}

// Ports are taken from these, at random. When one is in use by chance, another one is
// tried.
const (
	firstPort = 20000
	ports     = 40000
	portTries = 20
)

// bind binds an IPv4 socket to a port that nobody uses. A port that the kernel
// chooses would change when the socket is connected anew.
func bind(fd int) (port uint16, err error) {
	for range portTries {
		port = uint16(firstPort + rand.N(ports))
		if err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}); err != unix.EADDRINUSE {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("no port for the socket to the server: %w", err)
	}
	return port, nil
}

// answers returns the rule. Without the mark, and without the user of a socket, the
// kernel asks for the way back of a packet that has come.
func answers(network string, from uint16, to netip.AddrPort) policy.Rule {
	r := policy.NewRule(hostnet.V4, priorityAnswers, unix.RT_TABLE_MAIN,
		fmt.Sprintf("to %v ipproto %s sport %d dport %d uidrange 0-0 lookup main", to.Addr(), network, from, to.Port()))
	r.To(policy.Host(to.Addr()))
	r.Port(map[string]int{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[network], to.Port())
	r.Sport = netlink.NewRulePortRange(from, from)
	OfKernel(&r)
	return r
}

// recoverSockets removes the rules of sockets that a killed client had.
func recoverSockets() error {
	ours, _, err := policy.Rules(hostnet.V4, func(r netlink.Rule) bool { return r.Priority == priorityAnswers })
	if err != nil {
		return err
	}
	return policy.Remove(ours)
}
