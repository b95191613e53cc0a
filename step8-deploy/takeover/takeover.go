// Package takeover is what a client takes of its host: the tunnel's device, the routes
// into it, the firewall, the way to ask for names, and the kill switch. Introduced in
// step 8.
//
// What the host should have is one value (see want), and one function makes the host so,
// from wherever it is (see make): to take over, to go on with other terms, to close the
// kill switch, to give back, and to put back what another program has removed (see
// HostChanged). Connections come and go; what is taken stays.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"sync"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/pathmtu"
)

// A Host is a host that is taken over, or about to be. Its methods may be called by
// several goroutines.
type Host struct {
	names  names.Keeper
	unlock func() error       // of the host, for others
	stop   context.CancelFunc // ends watching

	mu       sync.Mutex // guards all below
	cfg      *config.Client
	kill     *killswitch.Config // nil if it is off
	lan      local
	noted    []string // what the log has been told of
	underlay destinations
	sockets  []*socketRule
	taken    *taken // nil if nothing is

	// What it has by now.
	begun  bool    // before, only the kill switch is ours to change: see Begin
	ended  bool    // there is nothing to keep any more
	dev    *device // nil if there is none
	tables keep.Tables
	live   killswitch.Live
	named  bool // programs ask the tunnel's resolvers

	nameless nameless

	up      bool // packets are carried
	mending mending
	told    State
	tell    func(State) // may be nil
}

// taken is the tunnel that the host is to have.
type taken struct {
	cfg   *config.Client // as it was then
	terms Terms
	only  []netip.Prefix // what goes into it; nil: everything
}

// Terms are what the server has handed out, and what follows from where it is.
type Terms struct {
	Server   netip.AddrPort
	Addrs    []netip.Prefix // of this host, in the tunnel
	Settings push.Settings
	Routes   []netip.Prefix // what the server wants to go into the tunnel; none stands for everything
	MTU      int            // bytes; to begin with, see Fit
}

// New returns a Host of which nothing is taken yet.
func New(cfg *config.Client, n names.Keeper) *Host { return &Host{cfg: cfg, names: n} }

// Begin closes the kill switch, and puts back what a killed client has left. From then on
// the host is kept as it should be. Call End or Leave at the end.
// After an error nothing is taken, and what was closed is closed.
func (h *Host) Begin() (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unlock, err = killswitch.Lock(h.cfg.State); err != nil {
		return err
	}
	// The switch comes first: what a killed client has left may be all that keeps
	// this host silent.
	if err := h.close(); err != nil {
		return errors.Join(err, h.unlock())
	}
	if err := h.begin(); err != nil {
		return errors.Join(err, h.leave())
	}
	h.watch()
	return nil
}

// close closes the kill switch as the settings want it.
func (h *Host) close() error {
	c, err := closing(h.cfg)
	if err != nil {
		return err
	}
	if c == nil && !h.cfg.KillSwitch {
		if err := killswitch.Open(h.cfg.State); err != nil {
			return err
		}
	}
	giveUp := func() error { return nil }
	if c != nil {
		known, undo, err := killswitch.Remember(*c, h.cfg.State)
		if err != nil {
			return err
		}
		h.kill, giveUp = &known, undo
		h.mending.paused = killswitch.Paused() > 0
	}
	h.underlay.begin(h.cfg)
	err = h.look()
	if err == nil {
		err = h.make(nil)
	}
	if err != nil {
		h.live.Close()
		return errors.Join(err, giveUp())
	}
	return nil
}

// begin puts back what a killed client has left.
func (h *Host) begin() error {
	if err := errors.Join(route.Recover(), keep.Remove(leftover...)); err != nil {
		return err
	}
	if err := h.names.PutBack(resolvconf.Config{State: h.cfg.State}); err != nil { // is no reason to stay without a tunnel
		slog.Warn("how a client that was killed has this host ask for names can't be put back so far", "error", err, "cure", app.HintOf(err))
	}
	h.begun = true
	return h.make(nil)
}

// closing returns what the kill switch is to be like at first. It is nil if it is to be
// open, or if it is not known yet what goes into the tunnel: that is what the server
// says, and no client has ever asked it.
func closing(cfg *config.Client) (*killswitch.Config, error) {
	if !cfg.KillSwitch {
		return nil, nil
	}
	if only, known := routes(cfg, nil); known {
		c := switchOf(cfg, only, nil)
		return &c, nil
	}
	c, found, err := killswitch.SavedOrStrictest(cfg.State)
	if !found {
		return nil, err
	}
	return &c, nil
}

// Close closes the kill switch as the settings want it, for a program that ends then; or
// opens it, if they want that.
func Close(cfg *config.Client) error {
	c, err := closing(cfg)
	switch {
	case err != nil:
		return err
	case c != nil:
		return killswitch.Close(*c, cfg.State)
	case !cfg.KillSwitch:
		return killswitch.Open(cfg.State)
	}
	return nil
}

// leftover are the tables that a killed client may have left, but for the kill switch's.
var leftover = tableNames{guard.Table, pathmtu.OurTable, lan.OurTable}

// Recover puts back what a killed client has left, except for the kill switch. While a
// client runs, it is an error.
func Recover(state string) error {
	err := errors.Join(route.Recover(), new(names.Local).PutBack(resolvconf.Config{State: state}))
	_, err2 := keep.Rules(priorityFirst, route.PriorityTunnel, nil)
	return errors.Join(err, err2, keep.Remove(append(leftover, underlayName)...))
}

// Take takes the host over on these terms, or has it go on with them, and returns the
// descriptor of the device, a copy that is the caller's, and a number that tells one device
// from another. After an error nothing is taken, but the kill switch stays closed.
func (h *Host) Take(t Terms) (fd, index int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return -1, 0, errEnded
	}
	before := h.taken
	if before != nil {
		mtu := before.terms.MTU // Fit changes it in passing
		if before.terms.MTU = t.MTU; reflect.DeepEqual(before.terms, t) {
			t.MTU = mtu
		}
		before.terms.MTU = mtu
	}
	now := &taken{cfg: h.cfg, terms: t}
	now.only, _ = routes(h.cfg, t.Routes)
	if h.cfg.DNS {
		now.only = withResolvers(now.only, t.Addrs, t.Settings.DNS)
	}
	had := h.dev
	if err = now.check(); err == nil {
		h.taken = now
		if h.cfg.KillSwitch {
			h.narrow(switchOf(h.cfg, now.only, t.Addrs))
		}
		err = h.make(nil)
	}
	if err == nil && h.dev == had { // else that was looked at
		err = route.CheckWay(h.dev.name, t.Server.Addr().Unmap())
	}
	if err != nil {
		return -1, 0, errors.Join(err, h.release())
	}
	if h.dev != had || !reflect.DeepEqual(before, now) {
		slog.Info("tunnel is up", "dev", h.dev.name, "addrs", now.usable().terms.Addrs, "server", t.Server, "mtu", t.MTU)
	}
	h.changed()
	fd, err = unix.FcntlInt(uintptr(h.dev.fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd, h.dev.index, os.NewSyscallError("fcntl", err)
}

// narrow has the kill switch know what the server has said; it is closed only now if
// what goes into the tunnel was not known before.
func (h *Host) narrow(c killswitch.Config) {
	if h.kill != nil && c.Tunnel == nil {
		c.Tunnel = h.kill.Tunnel
	}
	if h.kill == nil || !reflect.DeepEqual(*h.kill, c) {
		c.Save(h.cfg.State)
		h.kill = &c
	}
}

// Fit has packets in the tunnel be of up to size bytes, if anything is taken. A device
// with IPv6 addresses takes 1280 at least.
func (h *Host) Fit(size int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taken == nil || h.taken.terms.MTU == size {
		return nil
	}
	before := h.taken.terms.MTU
	h.taken.terms.MTU = size
	if err := h.make(nil); err != nil {
		return fmt.Errorf("having packets be of up to %d bytes: %w", size, err)
	}
	slog.Info("the path to the server has room for other packets than before", "before", before, "now", size, "mtu", h.taken.device().MTU)
	return nil
}

// SetUp says whether packets are carried. It is an error if a pause has begun meanwhile.
// Without a kill switch the host is given back when they are not.
func (h *Host) SetUp(up bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return errEnded
	}
	h.up = up
	if up && h.mending.paused {
		h.pause() // is over
	}
	switch {
	case up && h.taken == nil:
		return errReleased
	case !up && !h.cfg.KillSwitch:
		return h.release()
	}
	return nil
}

// Nothing may take the host once more that was given back: nobody would give it back.
var errEnded = errors.New("the host was given back")

var errReleased = errors.New("the kill switch is being paused")

// release puts back what was taken, except for the kill switch.
func (h *Host) release() error {
	h.taken = nil
	return h.make(nil)
}

// End puts everything back as it was, and opens the kill switch.
func (h *Host) End() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.finish()
	if h.kill != nil {
		err = errors.Join(err, killswitch.Open(h.cfg.State), keep.Remove(underlayName))
	}
	return errors.Join(err, h.unlock())
}

// Leave is End, but a kill switch that is closed stays closed, and the log says so.
func (h *Host) Leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leave()
}

func (h *Host) leave() error {
	err := h.finish()
	if h.kill != nil {
		slog.Warn("the kill switch stays closed: a stop of the client's service opens it, or 'stepvpn recover'")
	}
	return errors.Join(err, h.unlock())
}

// finish puts back all but the kill switch, and keeps nothing any more.
func (h *Host) finish() error {
	h.ended = true
	if h.stop != nil {
		h.stop()
	}
	h.sockets, h.underlay = nil, nil
	if h.kill != nil { // passes sockets with the mark, which a worker may have beyond our end
		h.underlay = destinations{}
	}
	err := h.release()
	h.live.Close()
	return err
}

// Reconfigure has the host be as other settings want it. What the server has a say in
// changes when Take is called next. If it fails, nothing is opened.
func (h *Host) Reconfigure(cfg *config.Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return errEnded
	}
	h.cfg = cfg
	if err := h.look(); err != nil {
		return err
	}
	var terms Terms
	if h.taken != nil {
		terms = h.taken.terms
	}
	only, known := routes(cfg, terms.Routes)
	switch {
	case cfg.KillSwitch && known:
		h.narrow(switchOf(cfg, only, terms.Addrs))
	case !cfg.KillSwitch && h.kill != nil:
		h.live.Close()
		h.kill = nil
		if err := killswitch.Open(cfg.State); err != nil {
			return err
		}
	}
	return h.make(nil)
}

// Nameservers returns whom to ask for the server's name, in the underlay.
func (h *Host) Nameservers() ([]netip.Addr, error) {
	h.mu.Lock()
	c := resolvconf.Config{State: h.cfg.State}
	if h.taken != nil {
		c.DNS = h.taken.terms.Settings.DNS
	}
	h.mu.Unlock()
	return names.Underlay(c)
}
