// Package killswitch keeps this host silent while its tunnel is down: packets that
// would go through the tunnel go nowhere. Introduced in step 8.
//
// Its policy rules come after those of packages guard and route. So the kernel consults them
// only for a packet for which those have no route: before the first session, between two
// sessions, and after the client was killed. A person would type
//
//	ip -4 rule add priority 22506 fwmark 22505 lookup main
//	ip -4 rule add priority 22508 ipproto udp dport 53 prohibit
//	ip -4 rule add priority 22508 ipproto tcp dport 53 prohibit
//	ip -4 rule add priority 22509 to 10.8.0.0/24 unreachable
//	ip -4 rule add priority 22510 to 192.168.1.0/24 lookup main suppress_prefixlength 23
//	ip -4 rule add priority 22511 unreachable
//
// and the same with -6. The client's own socket, which carries the mark, gets out.
// DNS queries don't. The local network stays reachable, as far as package lan counts it
// as local, and with it what keeps this host on a network: DHCP, neighbour discovery, link-local
// addresses and multicast that looks for services (see lan/rules.go, which adds rules for these).
// Every other packet is refused at once: its sender is told that there is no route.
//
// The rules alone have the same hole as those of package guard: a program may tie its
// socket to an interface, and needs no privilege for that. So the firewall also checks
// packets after routing, in a table of our own, which is in force even while the tunnel
// is up. (It also closes port 853, of DNS over TLS.) rules.go writes the rules and the table; package reconcile, given what the host should
// have, adds what is missing and removes the rest.
//
// # What opens it
//
// Open does, and only the operator has a reason to call it; and Pause does for a while, by a
// third table, inet stepvpn_pause, that marks packets so that they pass (pause.go). Nothing else
// does: rules and tables depend on no device and no process, and stay after kill -9. What was
// closed stays closed after an error. (Only a first Close that fails takes back what it has
// done.) The switch's Config is kept in a file, so that the switch can be closed again after a
// reboot, even if the settings can't be read: see Restore.
//
// Loading a firewall with "flush ruleset" removes the table. So there are two tables
// with the same rules: inet stepvpn_killswitch, which outlives this program, and
// inet stepvpn_killswitch_live, which this program owns: no flush removes that one,
// and it goes when its owner ends (see Live). As long as either is there, and there is no
// pause, nothing gets through. Package takeover puts back what is missing.
//
// # What is not covered
//
// Until the switch is closed for the first time, nothing is closed. Programs with
// root's privileges can do what they want. Protocols below IP, such as ARP, still work.
package killswitch

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/reconcile"
)

// A Config says which traffic is closed. It is what is kept from one start to the next.
type Config struct {
	Device string         `json:"device"` // the tunnel's device, which need not exist
	Only   []netip.Prefix `json:"only"`   // the networks that go through the tunnel; nil: everything
	Names  bool           `json:"names"`  // DNS queries are closed, too
	LAN    lan.Policy     `json:"lan"`
	Tunnel []netip.Prefix `json:"tunnel"` // the tunnel's own networks; nil: as they were before
}

// A Switch says which rules and table this host should have, so that its Config is in force.
type Switch struct {
	Config
	Local  lan.Networks // by the host's routes
	Paused bool         // Pause has opened it for a while: pauseRules, in pause.go, lead past the others
}

const (
	plainTable nft.Table = "inet stepvpn_killswitch"
	liveTable  nft.Table = "inet stepvpn_killswitch_live" // Live makes this one, in live.go
)

// Table returns the table that outlives this program.
func (s Switch) Table() reconcile.Table {
	return reconcile.Table{Name: plainTable, Text: s.ruleset(plainTable, s.Local)}
}

// Rules returns the policy rules, with priorities from PriorityFirst to PriorityLast.
func (s Switch) Rules() []policy.Rule {
	list := s.rules(s.Local)
	if s.Paused {
		list = append(list, pauseRules()...)
	}
	return list
}

// Close closes the switch, or changes a closed one without opening it for a moment. state
// is the folder in which its Config is kept.
//
// If Close fails, it has closed what it could, and opened nothing. The exception is a switch that
// was never closed, not even before the last boot: then Close leaves the host as it was.
//
// It is for a program that then ends, such as 'stepvpn killswitch close' at a boot. A client that
// runs does not call it: package takeover calls Remember, and makes rules and tables itself.
func Close(c Config, state string) error {
	c, giveUp, err := Remember(c, state)
	if err != nil {
		return err
	}
	s := Switch{Config: c, Paused: Paused() > 0}
	if s.Local, err = lan.Look(c.LAN, c.Device); err != nil { // which reads the host's routes
		return errors.Join(err, giveUp())
	}
	err = new(reconcile.Tables).Set(s.Table())
	_, err2 := reconcile.Rules(PriorityFirst, PriorityLast, s.Rules())
	if err := errors.Join(err, err2); err != nil {
		return errors.Join(err, giveUp())
	}
	return nil
}

// Remember saves c, as a switch is about to be closed, and returns it; if c does not name the
// tunnel's own networks, they are those saved before. A caller that fails to close the switch
// must call giveUp: that opens what is half closed, but only if the switch was never closed before.
func Remember(c Config, state string) (known Config, giveUp func() error, err error) {
	if err := hostnet.MayChange(); err != nil {
		return c, nil, err
	}
	before, err := closed()
	if err != nil {
		return c, nil, err
	}
	saved, found, err := Saved(state)
	if err == nil && c.Tunnel == nil {
		c.Tunnel = saved.Tunnel
	}
	c.Save(state)
	return c, func() error {
		if before || found {
			return nil
		}
		return errors.Join(removeAll(), forget(state))
	}, nil
}

// closed reports whether any part of a switch is in place.
func closed() (bool, error) {
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		ours, _, err := policy.Rules(f, isOurs)
		if err != nil || len(ours) > 0 {
			return true, err
		}
	}
	return reconcile.Exists(plainTable), nil
}

// Open opens the switch that another program has closed, and removes its saved Config. It is
// no error if there is none.
func Open(state string) error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if err := removeAll(); err != nil {
		return app.Hint(fmt.Errorf("the kill switch can't be opened, and stays closed: %w", err), "Once that is solved, 'stepvpn recover' does the rest.")
	}
	return forget(state)
}

// removeAll removes the tables, either all of them or none, and then, if that has worked, the
// rules.
func removeAll() error {
	if err := reconcile.Remove(plainTable, pauseTable); err != nil {
		return err
	}
	_, err := reconcile.Rules(PriorityFirst, PriorityLast, nil)
	return err
}

// Restore closes the switch as it was last closed, and returns its Config, and whether it was
// ever closed. If the file can't be read, it closes the switch as strictly as possible.
func Restore(state string) (c Config, found bool, err error) {
	if c, found, err = SavedOrStrictest(state); found {
		err = Close(c, state)
	}
	return c, found, err
}

// Reclose puts back what other programs have removed of a switch that was closed, and ends a
// pause that is over, if no client runs that would do so. It is for a client that can't start.
func Reclose(state string) error {
	if _, found, _ := Saved(state); !found {
		return nil
	}
	unlock, err := Lock(state)
	if errors.Is(err, ErrRuns) {
		return nil
	}
	if err == nil {
		defer unlock()
	}
	_, _, err2 := Restore(state)
	return errors.Join(err, err2)
}

// SavedOrStrictest is Saved, but if the file can't be read, it returns the strictest Config.
func SavedOrStrictest(state string) (c Config, found bool, err error) {
	c, found, err = Saved(state)
	if found && err != nil {
		slog.Warn("the saved state of the kill switch can't be read, so it closes everything", "error", err)
		return strictest, true, nil
	}
	return c, found, err
}

// strictest lets out only DHCP, and packets to a local network with private addresses.
var strictest = Config{Names: true, LAN: lan.Private}

// Priorities of the rules, right after those of package route. Each kind of rule has a
// priority of its own, because the kernel, asked to remove a rule, removes the first one of
// that priority that looks similar.
const (
	priorityOwn   = route.PriorityTunnel + 1 + iota
	priorityPause // see Pause
	priorityNames
	priorityTunnel
	priorityLocal
	priorityRest
)

// The range of these priorities.
const (
	PriorityFirst = priorityOwn
	PriorityLast  = priorityRest
)

// String says in a few words what is closed.
func (c Config) String() string {
	if c.Only == nil {
		return fmt.Sprintf("nothing leaves except through the tunnel (lan: %s)", c.LAN)
	}
	return fmt.Sprintf("nothing leaves for %v except through the tunnel", c.Only)
}
