// Package takeover is what a client has taken of its host: the tunnel's device,
// the routes into it, the way to ask for names, and the kill switch. Introduced in
// step 8.
//
// Connections come and go; what is taken stays. When a new connection brings the
// same addresses and settings, nothing is done. When it brings others, all is put
// back and taken anew, behind the kill switch. What another program removes
// meanwhile is put back (see HostChanged).
package takeover

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/policy"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/nft"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/underlay"
)

// A Host is a host that is taken over, or about to be. Its methods may be called by
// several goroutines; Take by one at a time.
type Host struct {
	unlock func() error // of the host, for others
	inner  innerMTU

	mu   sync.Mutex // guards all below
	cfg  *config.Client
	kill *killswitch.Switch // nil if it is off
	lan  local

	underlay underlayTable
	sockets  map[*keep.Changes]bool // what those outside of the tunnel need
	told     State
	tell     func(State) // may be nil

	// Zero if nothing is taken.
	dev    *device
	up     bool // packets are carried
	terms  Terms
	only   []netip.Prefix // what goes into the tunnel; nil: everything
	stale  bool           // the settings are other ones by now
	undo   []func() error // the last one first
	pieces keep.Changes   // rules and routes that are in force
	tables []*keep.Table  // and tables of nft

	mending mending
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
func New(cfg *config.Client) *Host { return &Host{cfg: cfg} }

// Begin closes the kill switch, and puts back what a killed client has left. Call End
// or Leave at the end. After an error nothing is taken, and what was closed is closed.
func (h *Host) Begin() (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unlock, err = killswitch.Lock(h.cfg.State); err != nil {
		return err
	}
	// The switch comes first: what a killed client has left may be all that keeps
	// this host silent.
	if h.kill, err = Close(h.cfg); err != nil {
		return errors.Join(err, h.unlock())
	}
	if h.kill != nil {
		go h.kill.Hold() // nothing has to wait for it
	}
	if err := errors.Join(Recover(h.cfg.State), h.settle(), h.underlay.begin(h.cfg)); err != nil {
		return errors.Join(err, h.leave())
	}
	return nil
}

// Close closes the kill switch as the settings want it. It returns nil if it is to be
// open, or if it is not known yet what goes into the tunnel: that is what the server
// says, and no client has ever asked it.
func Close(cfg *config.Client) (*killswitch.Switch, error) {
	if !cfg.KillSwitch {
		return nil, killswitch.Open(cfg.State)
	}
	only, known := routes(cfg, nil)
	if known {
		return killswitch.Close(switchOf(cfg, only, nil), cfg.State)
	}
	s, found, err := killswitch.Restore(cfg.State)
	if !found {
		return nil, err
	}
	return s, err
}

// Recover puts back what a killed client has left, except for the kill switch. While a
// client runs, it is an error.
func Recover(state string) error {
	_, err := resolvconf.Recover(resolvconf.Config{State: state})
	errs := []error{guard.Recover(), err}
	for _, t := range []nft.Table{pathmtu.OurTable, lan.OurTable, underlayName} {
		if keep.Exists(t) {
			errs = append(errs, t.Remove())
		}
	}
	return errors.Join(errs...)
}

// routes returns what goes into the tunnel, nil for everything, and whether that
// is known.
func routes(cfg *config.Client, pushed []netip.Prefix) (only []netip.Prefix, known bool) {
	switch r := cfg.Routes; {
	case r.Everything:
		return nil, true
	case r.Pushed:
		return pushed, len(pushed) > 0
	default:
		return r.Prefixes, true
	}
}

// guarded tells whether no other resolver than the tunnel's may be asked.
func guarded(cfg *config.Client) bool { return cfg.DNS && !cfg.AllowOtherDNS }

func switchOf(cfg *config.Client, only, tunnel []netip.Prefix) killswitch.Config {
	c := killswitch.Config{Device: cfg.Device, Only: only, Names: guarded(cfg), LAN: cfg.LAN}
	for _, n := range tunnel {
		c.Tunnel = append(c.Tunnel, n.Masked())
	}
	return c
}

// Take takes the host over on these terms, and returns the descriptor of the device,
// a copy that is the caller's, and a number that tells one device from another. After an
// error nothing is taken, but the kill switch stays closed.
func (h *Host) Take(t Terms) (fd, index int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.holds(t) {
		if err := h.release(); err != nil {
			return -1, 0, err
		}
		if err := h.take(t); err != nil {
			return -1, 0, errors.Join(err, h.release())
		}
		slog.Info("tunnel is up", "dev", h.cfg.Device, "addrs", t.Addrs, "server", t.Server, "mtu", t.MTU)
	}
	fd, err = unix.FcntlInt(uintptr(h.dev.fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd, h.dev.index, os.NewSyscallError("fcntl", err)
}

// holds tells whether the host is taken over on these terms.
func (h *Host) holds(t Terms) bool {
	t.MTU = h.terms.MTU // is no reason: Fit changes it in passing
	return h.dev != nil && !h.stale && reflect.DeepEqual(h.terms, t) && h.dev.exists()
}

func (h *Host) take(t Terms) error {
	cfg, mtu := h.cfg, t.MTU
	if cfg.MTU == 0 { // else it is an error of who has set it
		mtu = deviceMTU(mtu, t.Addrs)
	}
	dev, err := openDevice(tun.Config{Name: cfg.Device, Addrs: t.Addrs, MTU: mtu})
	if err != nil {
		return err
	}
	h.dev = dev
	h.undo = append(h.undo, dev.remove)
	h.terms = t
	h.add(h.inner.leave)
	h.inner.enter(dev.name, t)

	only, _ := routes(cfg, t.Routes)
	if cfg.DNS {
		only = withResolvers(only, t.Addrs, t.Settings.DNS)
	}
	h.only = only
	if err := h.narrow(switchOf(cfg, only, t.Addrs)); err != nil {
		return err
	}
	list, err := intoTunnel(dev.name, t, only)
	if err != nil {
		return err
	}
	if _, err := h.keepLocal(); err != nil {
		return err
	}
	list = append(h.ownNetworks(dev.name, t.Addrs, only), list...)
	around := lan.Ruleset(dev.name, t.Addrs, guarded(cfg))
	tables := []policy.Change{h.table(lan.OurTable, func() error { return lan.OurTable.Set(around) })}
	if guarded(cfg) {
		changes, err := guard.Changes(dev.name, t.Settings.DNS)
		if err != nil {
			return err
		}
		tables = append(tables, h.table(guard.Table, changes[0].Do))
		list = append(list, changes[1:]...)
	}
	undo, err := policy.CarryOut(tables, slog.Debug)
	if err != nil {
		return err
	}
	h.add(undo)
	if undo, err = h.pieces.CarryOut(list); err != nil {
		return err
	}
	h.add(undo)
	if cfg.DNS && len(t.Settings.DNS) > 0 {
		undo, err := resolvconf.Use(resolvconf.Config{Device: dev.name, DNS: t.Settings.DNS, Search: t.Settings.Search, State: cfg.State})
		if err != nil {
			return err
		}
		h.add(undo)
	}
	return nil
}

// add notes how something is put back.
func (h *Host) add(undo func() error) { h.undo = append([]func() error{undo}, h.undo...) }

// table is a change that makes a table of nft, and keeps it.
func (h *Host) table(name nft.Table, set func() error) policy.Change {
	t := &keep.Table{Name: name, Make: set}
	h.tables = append(h.tables, t)
	return policy.Change{Command: "nft add table " + string(name), Do: t.Set, Undo: t.Remove}
}

// narrow has the kill switch know what the server has said; it is closed only now if
// what goes into the tunnel was not known before.
func (h *Host) narrow(c killswitch.Config) (err error) {
	switch {
	case !h.cfg.KillSwitch:
		return nil
	case h.kill != nil:
		return h.kill.Set(c)
	}
	if h.kill, err = killswitch.Close(c, h.cfg.State); err == nil {
		go h.kill.Hold()
	}
	return err
}

// A device is a TUN device. Who moves its packets has another copy of its descriptor.
type device struct {
	name  string
	fd    int
	index int
}

func openDevice(c tun.Config) (*device, error) {
	name, fds, err := fast.Attach(c, 1, false)
	if err != nil {
		return nil, err
	}
	d := &device{name: name, fd: fds[0]}
	if l, err := netlink.LinkByName(name); err == nil {
		d.index = l.Attrs().Index
	}
	return d, nil
}

// exists tells whether nobody has deleted it.
func (d *device) exists() bool {
	l, err := netlink.LinkByName(d.name)
	return err == nil && l.Attrs().Index == d.index
}

// remove deletes it, whoever has a copy of its descriptor.
func (d *device) remove() error {
	var err error
	if d.exists() {
		err = netlink.LinkDel(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: d.name, Index: d.index}})
	}
	if err != nil {
		err = fmt.Errorf("removing %s: %w", d.name, err)
	}
	return errors.Join(err, unix.Close(d.fd))
}

// SetUp says whether packets are carried. It is an error if a pause has begun meanwhile.
// Without a kill switch the host is given back when they are not.
func (h *Host) SetUp(up bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up = up
	if up && h.mending.paused {
		h.pause() // is over
	}
	switch {
	case up && h.dev == nil:
		return errReleased
	case !up && !h.cfg.KillSwitch:
		return h.release()
	}
	return nil
}

var errReleased = errors.New("the kill switch is being paused")

// Release puts back what was taken, except for the kill switch.
func (h *Host) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.release()
}

func (h *Host) release() error {
	var errs []error
	for _, undo := range h.undo {
		errs = append(errs, undo())
	}
	h.dev, h.undo, h.tables, h.terms, h.stale = nil, nil, nil, Terms{}, false
	_, err := h.keepLocal()
	return errors.Join(append(errs, err)...)
}

// End puts everything back as it was, and opens the kill switch.
func (h *Host) End() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := errors.Join(h.release(), h.underlay.Remove())
	if h.kill != nil {
		err = errors.Join(err, h.kill.Open())
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
	err := errors.Join(h.release(), h.underlay.Remove())
	if h.kill != nil {
		h.kill.Release()
		slog.Warn("the kill switch stays closed: a stop of the client's service opens it, or 'stepvpn recover'")
	}
	return errors.Join(err, h.unlock())
}

// Reconfigure has the host be as other settings want it. What the server has a say in
// changes when Take is called next. If it fails, nothing is opened.
func (h *Host) Reconfigure(cfg *config.Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg = cfg
	h.stale = true
	if err := h.settle(); err != nil {
		return err
	}
	only, known := routes(cfg, h.terms.Routes)
	switch {
	case !cfg.KillSwitch && h.kill == nil, cfg.KillSwitch && !known:
		return nil
	case !cfg.KillSwitch:
		err := h.kill.Open()
		h.kill = nil
		return err
	}
	return h.narrow(switchOf(cfg, only, h.terms.Addrs))
}

// Nameservers returns whom to ask for the server's name, in the underlay.
func (h *Host) Nameservers() ([]netip.Addr, error) {
	h.mu.Lock()
	c := resolvconf.Config{State: h.cfg.State, DNS: h.terms.Settings.DNS}
	h.mu.Unlock()
	return underlay.Nameservers(c)
}
