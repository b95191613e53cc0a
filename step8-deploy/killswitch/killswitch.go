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
//	ip -4 rule add priority 22509 to 10.8.0.0/24 unreachable
//	ip -4 rule add priority 22510 to 192.168.1.0/24 lookup main suppress_prefixlength 23
//	ip -4 rule add priority 22511 unreachable
//
// and the same with -6. The client's own socket, which carries the mark, gets out.
// Nobody asks for names. The local network stays reachable, as far as package lan
// believes in it. Everything else is told at once that there is no way.
//
// The rules alone have a hole, as those of package guard have: a program may tie
// its socket to an interface, and needs no right for it. So the firewall looks at what
// leaves in the end, in a table of our own that is in force while the tunnel is up,
// too: see ruleset.
//
// # Who opens it
//
// Only Open does, and only the operator has a reason to call it. Rules and table
// depend on no device and no process: after kill -9 they stay. An error opens
// nothing, also not half-way. What the switch is like is kept in a file, so that it can
// be closed again after a boot, whatever has become of the settings: see Restore.
//
// Whoever loads a firewall with "flush ruleset" removes the table. So there are two
// alike: inet stepvpn_killswitch, which outlives this program, and
// inet stepvpn_killswitch_live, which belongs to it: no flush takes that one along,
// and it goes with its owner (see Live). Between the two nothing gets through. Who puts
// back what is missing is package takeover.
//
// # What is not covered
//
// Before the switch was closed for the first time, nothing is closed. Programs with
// root's rights can do what they want. What is below IP, as ARP, goes on.
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
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/lan"
)

// A Config says what stays silent. It is what is kept from one start to the next.
type Config struct {
	Device string         `json:"device"` // the tunnel's, which need not be there
	Only   []netip.Prefix `json:"only"`   // the networks that go through the tunnel; nil: everything
	Names  bool           `json:"names"`  // nobody asks for names
	LAN    lan.Policy     `json:"lan"`
	Tunnel []netip.Prefix `json:"tunnel"` // the tunnel's own networks; nil: as they were before
}

// A Switch says what this host should have, so that the Config is in force.
type Switch struct {
	Config
	Local  lan.Networks // by the host's routes
	Paused bool         // see Pause
}

const (
	plainTable nft.Table = "inet stepvpn_killswitch"
	liveTable  nft.Table = "inet stepvpn_killswitch_live"
)

// Table is the one that outlives this program.
func (s Switch) Table() keep.Table {
	return keep.Table{Name: plainTable, Text: s.ruleset(plainTable, s.Local)}
}

// Rules are the policy rules, with priorities from PriorityFirst to PriorityLast.
func (s Switch) Rules() []policy.Rule {
	list := s.rules(s.Local)
	if s.Paused {
		list = append(list, pauseRules()...)
	}
	return list
}

// Close closes the switch, or changes one that is closed, without a moment in which it
// is open. state is the folder where its Config is kept.
//
// If Close fails it has closed what it could, and opened nothing. Only a host where nothing
// has been closed so far, nor before its boot, is as it was then.
func Close(c Config, state string) error {
	c, giveUp, err := Remember(c, state)
	if err != nil {
		return err
	}
	s := Switch{Config: c, Paused: Paused() > 0}
	if s.Local, err = lan.Look(c.LAN, c.Device); err != nil {
		return errors.Join(err, giveUp())
	}
	err = new(keep.Tables).Set(s.Table())
	_, err2 := keep.Rules(PriorityFirst, PriorityLast, s.Rules())
	if err := errors.Join(err, err2); err != nil {
		return errors.Join(err, giveUp())
	}
	return nil
}

// Remember notes that a switch is about to be closed, and returns what it is like then:
// what c does not say of the tunnel's own networks is as it was before. Whoever fails to
// close it calls giveUp, which opens what is half closed, if nothing had been closed
// before.
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

// closed tells whether there is anything of a switch.
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
	return keep.Exists(plainTable), nil
}

// Open opens the switch that another program has closed, and forgets it. Nothing is
// no error.
func Open(state string) error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if err := removeAll(); err != nil {
		return app.Hint(fmt.Errorf("the kill switch can't be opened, and stays closed: %w", err), "Once that is mended, 'stepvpn recover' does the rest.")
	}
	return forget(state)
}

// removeAll removes the tables, which go together or not at all, and if they do, the rules.
func removeAll() error {
	if err := keep.Remove(plainTable, pauseTable); err != nil {
		return err
	}
	_, err := keep.Rules(PriorityFirst, PriorityLast, nil)
	return err
}

// Restore closes the switch as it was when it was closed last, and returns how that is, and
// whether it ever was. A file that cannot be read stands for a switch that lets out the least.
func Restore(state string) (c Config, found bool, err error) {
	if c, found, err = SavedOrStrictest(state); found {
		err = Close(c, state)
	}
	return c, found, err
}

// SavedOrStrictest is Saved, but what can't be read stands for a switch that lets out the
// least.
func SavedOrStrictest(state string) (c Config, found bool, err error) {
	c, found, err = Saved(state)
	if found && err != nil {
		slog.Warn("it can't be read how the kill switch was: it closes everything", "error", err)
		return strictest, true, nil
	}
	return c, found, err
}

// strictest lets out DHCP, and what is for a private network.
var strictest = Config{Names: true, LAN: lan.Private}

// Priorities of the rules, right behind those of package route. A kind has its own, as
// the kernel removes the first rule of a priority that looks like it.
const (
	priorityOwn   = route.PriorityTunnel + 1 + iota
	priorityPause // see Pause
	priorityNames
	priorityTunnel
	priorityLocal
	priorityRest
)

// The range of them.
const (
	PriorityFirst = priorityOwn
	PriorityLast  = priorityRest
)

// String says in a few words what is closed.
func (c Config) String() string {
	if c.Only == nil {
		return fmt.Sprintf("nothing leaves but through the tunnel (lan: %s)", c.LAN)
	}
	return fmt.Sprintf("nothing leaves for %v but through the tunnel", c.Only)
}
