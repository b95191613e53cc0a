package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// A Socket lets one of the tunnel's own sockets talk to a server or a nameserver outside
// of the tunnel, exempt from the rules of this package. The zero value is ready to use.
//
// The mark is enough for packets to get out. But a host that checks the source of
// incoming packets (rp_filter 1 or 2; IPv4 only) looks up which way a packet back to
// that source would go, without the mark. It would find the tunnel, or a rule that
// refuses queries, and drop the server's answer. So answers need a rule that comes before
// all others. It must not let any other traffic out, so it names everything that the
// kernel can compare:
//
//	ip -4 rule add priority 22499 to 203.0.113.10 ipproto udp sport 34567 dport 53 uidrange 0-0 lookup main
//
// 34567 is the port that the socket is bound to. Meanwhile no other program can use it
// with that server (TCP) or with the same address of this host (UDP). A program could
// bind it to another of the host's addresses; but the rule is only for user 0, in whose
// name the kernel does the lookup. So the rule is no hole either when the client was
// killed and the port is free.
//
// Its methods are safe for concurrent use.
type Socket struct {
	// CarryOut adds the rule. If it is nil, Control adds the rule itself, and logs that.
	// Step 8 sets it: there another process keeps the list of all rules.
	CarryOut func(policy.Rule) (undo func() error, err error)

	mu   sync.Mutex
	undo func() error // removes the rule of the last socket, if there is one; guarded by mu
}

// Control is meant as the Control of a transport or a net.Dialer. Before a socket is
// connected to address, it marks the socket (see route.Mark), binds it to a port, and
// adds the rule, which replaces the previous socket's.
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
		return nil // IPv6 has no such check
	}
	var port uint16
	if failed := c.Control(func(fd uintptr) { port, err = bind(int(fd)) }); failed != nil || err != nil {
		return errors.Join(failed, err)
	}
	rule := answers(strings.TrimSuffix(network, "4"), port, to)
	rule.Add().Undo() // left by a killed client that had the same port by chance
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

// Ports are chosen from this range at random. If one is in use, another is tried.
const (
	firstPort = 20000
	ports     = 40000
	portTries = 20
)

// bind binds an IPv4 socket to an unused port. A port that the kernel chooses would
// change when the socket is connected again.
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

// answers returns the rule for answers. The lookup that it is for, of the way back for
// an incoming packet, has no mark and is made as user 0, not as a socket's user.
func answers(network string, from uint16, to netip.AddrPort) policy.Rule {
	r := policy.NewRule(hostnet.V4, priorityAnswers, unix.RT_TABLE_MAIN,
		fmt.Sprintf("to %v ipproto %s sport %d dport %d uidrange 0-0 lookup main", to.Addr(), network, from, to.Port()))
	r.To(policy.Host(to.Addr()))
	r.Port(map[string]int{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[network], to.Port())
	r.Sport = netlink.NewRulePortRange(from, from)
	OfKernel(&r)
	return r
}

// recoverSockets removes the rules that a killed client left for its sockets.
func recoverSockets() error {
	ours, _, err := policy.Rules(hostnet.V4, func(r netlink.Rule) bool { return r.Priority == priorityAnswers })
	if err != nil {
		return err
	}
	return policy.Remove(ours)
}

// OfKernel limits a rule to user 0: in this user's name the kernel does its own lookups,
// such as that of the way back for an incoming packet. (In a user namespace without a
// user 0, such as an ordinary user's lab, the rule stays without this limit.) Step 8 calls
// it for a rule of its own.
func OfKernel(r *policy.Rule) {
	numbers, err := os.ReadFile("/proc/self/uid_map") // user_namespaces(7)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(numbers)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "0" {
			r.UIDRange = netlink.NewRuleUIDRange(0, 0)
		}
	}
}
