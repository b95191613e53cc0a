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
// and it goes with its owner (see owner). Between the two nothing gets through. Mend
// puts back what is missing.
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
	"reflect"
	"sync"

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

// A Switch is closed. Its methods may be called by several goroutines.
type Switch struct {
	state string // the folder of the file

	mu     sync.Mutex // guards all below
	cfg    Config
	local  lan.Networks // by the host's routes
	plain  keep.Table
	live   *owner // nil unless Hold was called
	paused bool
	done   bool // Open or Release was called: there is nothing to keep any more
}

const (
	plainTable nft.Table = "inet stepvpn_killswitch"
	liveTable  nft.Table = "inet stepvpn_killswitch_live"
)

// Close closes the switch, or changes one that is closed, without a moment in which it
// is open. state is the folder where its Config is kept. It takes the program nft.
//
// If Close fails it has closed what it could, and opened nothing. Only a host where nothing
// has been closed so far, nor before its boot, is as it was then.
func Close(c Config, state string) (*Switch, error) {
	if err := hostnet.MayChange(); err != nil {
		return nil, err
	}
	s := &Switch{state: state, paused: Paused() > 0}
	s.plain = keep.Table{Name: plainTable, Make: func() error { return plainTable.Set(s.cfg.ruleset(plainTable, s.local)) }}
	before, err := closed()
	if err != nil {
		return nil, err
	}
	if s.local, err = lan.Look(c.LAN, c.Device); err != nil {
		return nil, err
	}
	saved, found, err := Saved(state)
	if err == nil {
		s.cfg.Tunnel = saved.Tunnel
	}
	if err := s.Set(c); err != nil {
		if !before && !found {
			err = errors.Join(err, removeAll(), forget(state))
		}
		return nil, err
	}
	return s, nil
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

// Set makes the switch what c says.
func (s *Switch) Set(c Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Tunnel == nil {
		c.Tunnel = s.cfg.Tunnel
	}
	if s.done || reflect.DeepEqual(s.cfg, c) {
		return nil
	}
	s.cfg = c
	if err := s.cfg.save(s.state); err != nil {
		slog.Warn("the kill switch is closed, but after a boot that may depend on the settings", "error", err)
	}
	return s.carryOut()
}

// Config returns what the switch is like.
func (s *Switch) Config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// SetLocal says which networks are local by now.
func (s *Switch) SetLocal(local lan.Networks) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || reflect.DeepEqual(s.local, local) {
		return nil
	}
	s.local = local
	return s.carryOut()
}

// Hold closes the switch a second time, for as long as this program runs. A kernel
// (before Linux 5.12) or an nft (before 1.0) that can't do that is no error; the log
// says so.
func (s *Switch) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done && s.live == nil {
		s.hold()
	}
}

func (s *Switch) hold() {
	live, err := newOwner(s.cfg.ruleset(liveTable, s.local))
	if err != nil {
		slog.Warn("whoever removes all rules of the firewall opens the kill switch for a moment", "error", err)
		return
	}
	s.live = live
}

// Mend puts back what another program has removed, and returns what that was.
func (s *Switch) Mend() (mended []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil, nil
	}
	s.paused = Paused() > 0
	missing, err1 := s.rules()
	if missing > 0 {
		mended = append(mended, "policy rules of the kill switch")
	}
	set, err2 := s.plain.Mend()
	if set {
		mended = append(mended, "nft table "+string(plainTable))
	}
	if s.live != nil && s.live.ended() {
		s.live = nil
		s.hold()
		mended = append(mended, "nft table "+string(liveTable))
	}
	return mended, errors.Join(err1, err2)
}

// carryOut makes table and rules what they should be. s.mu is locked. After an error
// it goes on: what it can close it closes.
func (s *Switch) carryOut() error {
	if s.live != nil && s.live.set(s.cfg.ruleset(liveTable, s.local)) != nil {
		s.live.close() // or it would refuse what is right by now
		s.live = nil
		s.hold()
	}
	err := s.plain.Set()
	_, err2 := s.rules()
	return errors.Join(err, err2)
}

func (s *Switch) rules() (missing int, err error) {
	list := s.cfg.rules(s.local)
	if s.paused {
		list = append(list, pauseRules()...)
	}
	return keep.Rules(priorityOwn, priorityRest, list)
}

// Open opens the switch, and forgets it. It may be called more than once.
func (s *Switch) Open() error {
	s.Release()
	return Open(s.state)
}

// Release ends what Hold has begun. The switch stays closed.
func (s *Switch) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	if s.live != nil {
		s.live.close()
		s.live = nil
	}
}

// Open opens the switch that another program has closed, and forgets it. Nothing is
// no error.
func Open(state string) error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if err := removeAll(); err != nil {
		return app.Hint(fmt.Errorf("the kill switch can't be opened: %w", err), "Once that is mended, 'stepvpn recover' opens it.")
	}
	return forget(state)
}

func removeAll() error {
	_, err := keep.Rules(priorityOwn, priorityRest, nil)
	if keep.Exists(plainTable) {
		err = errors.Join(err, plainTable.Remove())
	}
	return errors.Join(err, EndPause())
}

// Restore closes the switch as it was when it was closed last, and tells whether it
// ever was. A file that cannot be read stands for a switch that lets out the least.
func Restore(state string) (s *Switch, found bool, err error) {
	c, found, err := Saved(state)
	if !found {
		return nil, false, err
	}
	if err != nil {
		slog.Warn("it can't be read how the kill switch was: it closes everything", "error", err)
		c = strictest
	}
	s, err = Close(c, state)
	return s, true, err
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

// String says in a few words what is closed.
func (c Config) String() string {
	if c.Only == nil {
		return fmt.Sprintf("nothing leaves but through the tunnel (lan: %s)", c.LAN)
	}
	return fmt.Sprintf("nothing leaves for %v but through the tunnel", c.Only)
}
