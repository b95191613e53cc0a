// Package takeover is what a client has taken of its host: the tunnel's device,
// the routes into it, the way to ask for names, and the kill switch. Introduced in
// step 8.
//
// Connections come and go; what is taken stays. When a new connection brings the
// same addresses and settings, nothing is done. When it brings others, all is put
// back and taken anew, behind the kill switch.
package takeover

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"sync/atomic"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/slot"
)

// A Host is a host that is taken over, or about to be. Its methods are called by
// one goroutine, but for Nameservers, NetworkChanged and Fit.
type Host struct {
	cfg   *config.Client
	count *tunnel.Counters
	open  func(tun.Config) (*tun.Device, error)
	watch func(name string, l link.Link) link.Link

	kill atomic.Pointer[killswitch.Switch] // nil if it is off

	// Zero if nothing is taken.
	terms Terms
	slot  *slot.Slot
	undo  []func() error // the last one first

	room room
}

// Terms are what the server has handed out, and what follows from where it is.
type Terms struct {
	Server   netip.AddrPort
	Addrs    []netip.Prefix // of this host, in the tunnel
	Settings push.Settings
	MTU      int // bytes; to begin with, see Fit
}

// Begin puts back what a killed client has left, and closes the kill switch. open
// makes the device; watch gets the two ends of what moves packets (see package
// pulse). Call End at the end.
func Begin(cfg *config.Client, count *tunnel.Counters, open func(tun.Config) (*tun.Device, error),
	watch func(name string, l link.Link) link.Link) (*Host, error) {
	h := &Host{cfg: cfg, count: count, open: open, watch: watch}
	// The switch comes first: what a killed client has left may be all that keeps
	// this host silent.
	if only, known := h.routes(push.Settings{}); cfg.KillSwitch && known {
		if err := h.close(only); err != nil {
			return nil, err
		}
	} else if err := killswitch.Recover(); err != nil {
		return nil, err
	}
	if err := Recover(cfg.State); err != nil {
		return nil, errors.Join(err, h.End())
	}
	return h, nil
}

// Recover puts back what a killed client has left, except for the kill switch.
func Recover(state string) error {
	_, err := resolvconf.Recover(resolvconf.Config{State: state})
	return errors.Join(guard.Recover(), err, pathmtu.Unclamp())
}

// routes returns what goes into the tunnel, nil for everything, and whether that
// is known yet.
func (h *Host) routes(pushed push.Settings) (only []netip.Prefix, known bool) {
	switch r := h.cfg.Routes; {
	case r.Everything:
		return nil, true
	case r.Pushed:
		return pushed.Routes, len(pushed.Routes) > 0 || h.slot != nil
	default:
		return r.Prefixes, true
	}
}

// guarded tells whether no other resolver than the tunnel's may be asked.
func (h *Host) guarded() bool { return h.cfg.DNS && !h.cfg.AllowOtherDNS }

// close closes the kill switch.
func (h *Host) close(only []netip.Prefix) error {
	kill, err := killswitch.On(killswitch.Config{Device: h.cfg.Device, Only: only, Names: h.guarded()})
	if err == nil {
		h.kill.Store(kill)
	}
	return err
}

// NetworkChanged tells that routes, addresses or links of the host have changed.
func (h *Host) NetworkChanged() {
	if kill := h.kill.Load(); kill != nil {
		if err := kill.NetworkChanged(); err != nil {
			slog.Warn("the kill switch does not know what is local by now", "error", err)
		}
	}
}

// Approach lets this host talk to a server while nothing else may leave.
func (h *Host) Approach(server netip.AddrPort) error {
	kill := h.kill.Load()
	if kill == nil {
		return nil
	}
	return kill.Server(h.cfg.Transport, server)
}

// Take takes the host over on these terms. After an error nothing is taken, but
// the kill switch stays closed.
func (h *Host) Take(t Terms) error {
	same := t
	same.MTU = h.terms.MTU // is no reason: Fit changes it in passing
	if h.slot != nil && reflect.DeepEqual(h.terms, same) {
		return nil
	}
	if err := h.Release(); err != nil {
		return err
	}
	if err := h.take(t); err != nil {
		return errors.Join(err, h.Release())
	}
	h.terms = t
	slog.Info("tunnel is up", "dev", h.cfg.Device, "addrs", t.Addrs, "server", t.Server, "mtu", t.MTU)
	return nil
}

func (h *Host) take(t Terms) error {
	mtu := t.MTU
	if h.cfg.MTU == 0 { // else it is an error of who has set it
		mtu = deviceMTU(mtu, t.Addrs)
	}
	dev, err := h.open(tun.Config{Name: h.cfg.Device, Addrs: t.Addrs, MTU: mtu, Drops: &h.count.Drops})
	if err != nil {
		return err
	}
	h.carry(dev)
	h.undo = append([]func() error{h.room.leave}, h.undo...)
	h.room.enter(dev.Name(), t)
	only, _ := h.routes(t.Settings)
	if h.cfg.DNS {
		only = withResolvers(only, t.Addrs, t.Settings.DNS)
	}
	if h.cfg.KillSwitch && h.kill.Load() == nil { // the routes are known only now
		if err := h.close(only); err != nil {
			return err
		}
	}
	steps := []func() (func() error, error){
		func() (func() error, error) {
			return route.Default(route.Config{Device: dev.Name(), Addrs: t.Addrs, Server: t.Server, Only: only})
		},
	}
	if h.guarded() {
		steps = append(steps, func() (func() error, error) { return guard.DNS(dev.Name(), t.Settings.DNS) })
	}
	if h.cfg.DNS && len(t.Settings.DNS) > 0 {
		steps = append(steps, func() (func() error, error) {
			return resolvconf.Use(resolvconf.Config{Device: dev.Name(), DNS: t.Settings.DNS, Search: t.Settings.Search, State: h.cfg.State})
		})
	}
	for _, step := range steps {
		undo, err := step()
		if err != nil {
			return err
		}
		h.undo = append([]func() error{undo}, h.undo...)
	}
	return nil
}

// carry moves packets between the device and whatever session is there.
func (h *Host) carry(dev link.Link) {
	h.slot = slot.New(&h.count.Drops)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tunnel.Run(ctx, h.watch("TUN device", dev), h.watch("session", h.slot), h.count) }()
	h.undo = append(h.undo, func() error {
		stop()
		return <-ended
	})
}

// Carry moves packets through a session, and returns why it has ended, or nil when
// ctx ends. It has closed the session then.
func (h *Host) Carry(ctx context.Context, session link.Link) error {
	err := h.slot.Use(ctx, session)
	if !h.cfg.KillSwitch {
		err = errors.Join(err, h.Release())
	}
	return err
}

// Release puts back what was taken, except for the kill switch.
func (h *Host) Release() error {
	var errs []error
	for _, undo := range h.undo {
		errs = append(errs, undo())
	}
	h.slot, h.undo, h.terms = nil, nil, Terms{}
	return errors.Join(errs...)
}

// End puts everything back as it was.
func (h *Host) End() error {
	err := h.Release()
	if kill := h.kill.Load(); kill != nil {
		err = errors.Join(err, kill.Off())
	}
	return err
}

// Nameservers returns whom to ask for the server's name, past the tunnel.
func (h *Host) Nameservers() ([]netip.Addr, error) {
	return resolvconf.Below(resolvconf.Config{State: h.cfg.State, DNS: h.terms.Settings.DNS})
}
