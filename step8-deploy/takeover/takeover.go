// Package takeover changes a client's host for the tunnel: it makes the device, the routes
// into it, the firewall's tables, the DNS settings, and the kill switch. Introduced in
// step 8. (On a server, package uplink does that.)
//
// One value says what the host should have (desired.go), and one function makes the host so,
// from whatever state it is in (apply.go). This one function takes the host over, goes on
// with other terms, closes the kill switch, gives the host back, and puts back what another
// program has removed (see HostChanged). Sessions come and go; what is taken stays.
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
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/reconcile"
)

// A Host is a host that is taken over, or about to be. Its methods are safe for concurrent
// use.
type Host struct {
	names  names.Keeper
	unlock func() error       // lets another client take this host
	stop   context.CancelFunc // ends watching

	mu       sync.Mutex // guards all below
	cfg      *config.Client
	kill     *killswitch.Config // nil if it is off
	lan      local
	noted    []string // the notes that were logged
	underlay destinations
	sockets  []*socketRule
	taken    *taken // nil if nothing is

	// What the host has so far.
	begun  bool    // until then, only the kill switch is ours to change: see Begin
	ended  bool    // the host is not kept any more
	dev    *device // nil if there is none
	tables reconcile.Tables
	live   killswitch.Live
	named  bool // programs ask the tunnel's resolvers

	namesFailed namesFailed

	up      bool // packets are carried
	mending mending
	told    State
	tell    func(State) // may be nil
}

// taken describes the tunnel that the host is to have.
type taken struct {
	cfg   *config.Client // as it was then
	terms Terms
	only  []netip.Prefix // the networks that go into it; nil: everything
}

// Terms are what the server has handed out, and what follows from its address.
type Terms struct {
	Server   netip.AddrPort
	Addrs    []netip.Prefix // of this host, in the tunnel
	Settings push.Settings
	Routes   []netip.Prefix // the networks that the server wants to go into the tunnel; none means everything
	MTU      int            // in bytes, at first; see Fit
}

// New returns a Host that nothing has been changed on yet.
func New(cfg *config.Client, n names.Keeper) *Host { return &Host{cfg: cfg, names: n} }

// Begin closes the kill switch, and puts back what a killed client has left. From then on
// the Host keeps the host as it should be. Call End or Leave when done. After an error,
// nothing is taken, and what was closed stays closed.
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
		err = h.apply(nil)
	}
	if err != nil {
		h.live.Close()
		return errors.Join(err, giveUp())
	}
	return nil
}

// begin puts back what a killed client has left.
func (h *Host) begin() error {
	if err := errors.Join(route.Recover(), reconcile.Remove(leftover...)); err != nil {
		return err
	}
	if err := h.names.PutBack(resolvconf.Config{State: h.cfg.State}); err != nil { // a tunnel is possible all the same
		slog.Warn("the DNS settings that a killed client has left could not be put back yet", "error", err, "cure", app.HintOf(err))
	}
	h.begun = true
	return h.apply(nil)
}

// closing returns the kill switch's Config at first. It is nil if the switch is to be open,
// or if it is not known yet what goes into the tunnel: the server says that, and no client
// has ever asked it.
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

// Close closes or opens the kill switch as the settings say, for a program that then ends.
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

// leftover are the tables that a killed client may have left, except for the kill switch's.
var leftover = tableNames{guard.Table, pathmtu.OurTable, lan.OurTable}

// Recover puts back what a killed client has left, except for the kill switch. It returns an
// error if a client is running.
func Recover(state string) error {
	err := errors.Join(route.Recover(), new(names.Local).PutBack(resolvconf.Config{State: state}))
	_, err2 := reconcile.Rules(priorityFirst, route.PriorityTunnel, nil)
	return errors.Join(err, err2, reconcile.Remove(append(leftover, underlayName)...))
}

// Take takes the host over on these terms, or goes on with them. It returns a copy of the
// device's descriptor, which the caller must close, and a number that tells one device from
// another. After an error nothing is taken, but the kill switch stays closed.
func (h *Host) Take(t Terms) (fd, index int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return -1, 0, errEnded
	}
	before := h.taken
	if before != nil {
		mtu := before.terms.MTU // which Fit may change meanwhile
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
		err = h.apply(nil)
	}
	if err == nil && h.dev == had { // a new device was logged already
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

// narrow passes on to the kill switch what the server has said. If it was not known before
// what goes into the tunnel, the switch is closed only now.
func (h *Host) narrow(c killswitch.Config) {
	if h.kill != nil && c.Tunnel == nil {
		c.Tunnel = h.kill.Tunnel
	}
	if h.kill == nil || !reflect.DeepEqual(*h.kill, c) {
		c.Save(h.cfg.State)
		h.kill = &c
	}
}

// Fit limits packets in the tunnel to size bytes, if the host is taken. The MTU of a device
// with IPv6 addresses stays at least 1280.
func (h *Host) Fit(size int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taken == nil || h.taken.terms.MTU == size {
		return nil
	}
	before := h.taken.terms.MTU
	h.taken.terms.MTU = size
	if err := h.apply(nil); err != nil {
		return fmt.Errorf("limiting packets to %d bytes: %w", size, err)
	}
	slog.Info("the path to the server carries packets of another size now", "before", before, "now", size, "mtu", h.taken.device().MTU)
	return nil
}

// SetUp says whether the tunnel carries packets. It returns an error if a pause has begun
// meanwhile. Without a kill switch, SetUp(false) gives the host back.
func (h *Host) SetUp(up bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return errEnded
	}
	h.up = up
	if up && h.mending.paused {
		h.pause() // ends it
	}
	switch {
	case up && h.taken == nil:
		h.up = false
		return errReleased
	case !up && !h.cfg.KillSwitch:
		return h.release()
	}
	return nil
}

// A host that was given back must not be taken again, as nothing would give it back then.
var errEnded = errors.New("the host was given back")

var errReleased = errors.New("the kill switch is being paused")

// release puts back what was taken, except for the kill switch.
func (h *Host) release() error {
	h.taken = nil
	return h.apply(nil)
}

// End puts everything back as it was, and opens the kill switch.
func (h *Host) End() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.finish()
	if h.kill != nil {
		err = errors.Join(err, killswitch.Open(h.cfg.State), reconcile.Remove(underlayName))
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

// finish puts back everything except the kill switch, and stops keeping the host.
func (h *Host) finish() error {
	h.ended = true
	if h.stop != nil {
		h.stop()
	}
	h.sockets, h.underlay = nil, nil
	if h.kill != nil { // it lets sockets with the mark pass, and a worker may still have one after we end
		h.underlay = destinations{}
	}
	err := h.release()
	h.live.Close()
	return err
}

// Reconfigure makes the host what other settings say. What depends on the server changes at
// the next call of Take. If Reconfigure fails, nothing is opened.
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
	return h.apply(nil)
}

// Nameservers returns the nameservers of the underlay, to ask for the server's name.
func (h *Host) Nameservers() ([]netip.Addr, error) {
	h.mu.Lock()
	c := resolvconf.Config{State: h.cfg.State}
	if h.taken != nil {
		c.DNS = h.taken.terms.Settings.DNS
	}
	h.mu.Unlock()
	return names.Underlay(c)
}
