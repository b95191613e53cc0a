// Package killswitch keeps this host silent while its tunnel is down: what would
// go through the tunnel goes nowhere. Introduced in step 8.
//
// Its policy rules stand behind those of packages guard and route, so the kernel
// asks them only when these send a packet nowhere: before the first connection,
// between two, and when the client was killed. A person would type
//
//	ip -4 rule add priority 22506 fwmark 22505 lookup main
//	ip -4 rule add priority 22507 ipproto udp dport 53 prohibit
//	ip -4 rule add priority 22507 ipproto tcp dport 53 prohibit
//	ip -4 rule add priority 22508 lookup main suppress_prefixlength 0
//	ip -4 rule add priority 22509 unreachable
//
// and the same with -6. The client's own socket, which carries the mark, gets out.
// Nobody asks for names. The local network stays reachable. Everything else is
// told at once that there is no way.
//
// The rules depend on no device and no process: after kill -9 they stay, and the
// host stays silent until a client starts or Off is called.
//
// What is not covered is what packages guard and route do not cover. Before the
// client has started for the first time after a boot there are no rules yet: have
// it start before the network is up.
package killswitch

import (
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

// Priorities of the rules, right behind those of package route.
const (
	priorityOwn   = route.PriorityTunnel + 1
	priorityNames = route.PriorityTunnel + 2
	priorityLocal = route.PriorityTunnel + 3
	priorityRest  = route.PriorityTunnel + 4
)

// On makes the rules. The function that it returns removes them; it may be called
// more than once. Rules that a killed client has left are taken over as they are,
// without a moment in which they are not there.
func On() (off func() error, err error) {
	if err := hostnet.MayChange(); err != nil {
		return nil, err
	}
	var list []policy.Change
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		for _, r := range rules(f) {
			list = append(list, r.Keep())
		}
	}
	return policy.CarryOut(list)
}

// Off removes the rules that a killed client has left. None is no error.
func Off() error {
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
	return nil
}

func isOurs(r netlink.Rule) bool { return r.Priority >= priorityOwn && r.Priority <= priorityRest }

func rules(f hostnet.Family) []policy.Rule {
	list := []policy.Rule{route.Own(f, priorityOwn)}
	list = append(list, guard.Refuse(f, priorityNames)...)
	rest := policy.NewRefusal(f, priorityRest, unix.RTN_UNREACHABLE, "unreachable")
	return append(list, route.Local(f, priorityLocal), rest)
}
