package takeover

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/reconcile"
)

// apply makes the host what it should be, from whatever state it is in. It adds tables first,
// as they close the host; then the device, the routes and rules into it, and names. It
// removes in the opposite order. In a round, it also looks for what other programs have
// changed. If one of them changes something again and again, apply puts it back less often;
// but what keeps this host closed is always put back. After an error, apply still does the
// rest as far as possible. h.mu is locked.
func (h *Host) apply(r *round) error {
	w := h.desired()
	var errs []error
	failed := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	// Without tables, or without a device, nothing further is added.
	stuck := func() bool { return w.device != nil && h.dev == nil && len(errs) > 0 }

	if w.live != nil && h.live.Set(*w.live) {
		r.note("the nft that owns a table")
	}
	failed(h.tables.Set(w.tables...))
	if r != nil {
		mended, err := h.tables.Mend()
		r.note(mended...)
		failed(err)
	}
	if w.names == nil {
		failed(h.giveNamesBack())
	}
	if w.device != nil && !stuck() {
		failed(h.step(r, theDevice, func() ([]string, error) { return h.keepDevice(*w.device) }))
	}
	if w.device != nil && h.dev != nil {
		failed(h.step(r, theRoutes, func() ([]string, error) {
			missing, err := reconcile.Routes(route.Table, w.device.Name, w.routes)
			return some(missing, "routes into the tunnel"), err
		}))
	}
	rules := func(low int) func() ([]string, error) {
		return func() ([]string, error) {
			missing, err := reconcile.Rules(low, killswitch.PriorityLast, w.rules)
			return some(missing, "policy rules"), err
		}
	}
	if !h.begun || stuck() || r.waits(h.mending.pace(theRules)) {
		mended, err := rules(killswitch.PriorityFirst)()
		r.note(mended...)
		failed(err)
	} else {
		failed(h.step(r, theRules, rules(priorityFirst)))
	}
	if w.device == nil && h.dev != nil && h.begun {
		failed(h.dev.remove())
		h.dev = nil
	}
	if w.names == nil {
		h.namesFailed.told(nil)
	} else if !stuck() && !r.waits(h.mending.pace(theNames)) {
		if h.namesFailed.told(h.step(r, theNames, func() ([]string, error) { return h.keepNames(*w.names) })) {
			h.lookAgain(tryEvery)
		}
	}
	if h.begun {
		failed(h.tables.Only(w.tables...))
	}
	return errors.Join(errs...)
}

// A round is one attempt to put back what another program has changed.
type round struct {
	now    time.Time
	mended []string
	again  time.Duration // when to look again; 0: only when something has changed
}

// giveNamesBack makes programs ask the host's own resolvers again.
func (h *Host) giveNamesBack() error {
	if !h.named {
		return nil
	}
	h.named = false
	return h.names.PutBack(resolvconf.Config{State: h.cfg.State})
}

// keepNames makes programs ask the tunnel's resolvers.
func (h *Host) keepNames(c resolvconf.Config) (mended []string, err error) {
	h.named = true // even if it fails: part of it may have been done
	by, err := h.names.Keep(c)
	if by != "" {
		mended = []string{fmt.Sprintf("%s (%s)", resolvconf.DefaultPath, by)}
	}
	return mended, err
}

func some(missing int, what string) []string {
	if missing == 0 {
		return nil
	}
	return []string{what}
}

// A thing is something that another program may change again and again, with advice on how
// to stop that program.
type thing struct{ name, cure string }

var (
	theDevice = &thing{"the tunnel's device", "if NetworkManager does that, name it in unmanaged-devices= of /etc/NetworkManager/NetworkManager.conf"}
	theRoutes = &thing{"routes into the tunnel", "if systemd-networkd does that, set ManageForeignRoutes=no in /etc/systemd/networkd.conf"}
	theRules  = &thing{"policy rules", "if systemd-networkd does that, set ManageForeignRoutingPolicyRules=no in /etc/systemd/networkd.conf"}
	theNames  = &thing{resolvconf.DefaultPath, ""}
)

// mending keeps track of what others do to the host, and of what was logged about it.
type mending struct {
	told   time.Time // when it was last logged that something was put back
	failed time.Time // when it was last logged that this failed
	paused bool
	again  *time.Timer // looks again when a pause is over, or when something has failed; nil if there was none
	paces  map[*thing]*reconcile.Pace
}

const (
	tellEvery = time.Minute      // the log says at most this often that something was put back, or that this failed
	tryEvery  = time.Second      // how often what has failed is tried again
	lookEvery = 10 * time.Second // how often to look for changes that nothing announces
)

func (m *mending) pace(t *thing) *reconcile.Pace {
	if m.paces == nil {
		m.paces = make(map[*thing]*reconcile.Pace)
	}
	if m.paces[t] == nil {
		m.paces[t] = new(reconcile.Pace)
	}
	return m.paces[t]
}

// note records what was put back.
func (r *round) note(mended ...string) {
	if r != nil {
		r.mended = append(r.mended, mended...)
	}
}

// waits reports whether a thing is not to be put back yet.
func (r *round) waits(p *reconcile.Pace) bool {
	if r == nil {
		return false
	}
	wait := p.Wait(r.now)
	if wait > 0 && (r.again == 0 || wait < r.again) {
		r.again = wait
	}
	return wait > 0
}

// step keeps one thing, unless another program changes it too often.
func (h *Host) step(r *round, t *thing, do func() (mended []string, err error)) error {
	p := h.mending.pace(t)
	if r.waits(p) {
		return nil
	}
	mended, err := do()
	switch {
	case r == nil:
	case len(mended) == 0:
		p.Held(r.now)
	default:
		r.note(mended...)
		if p.Mended(r.now) {
			cure := t.cure
			if cure == "" {
				cure = mended[0]
			}
			slog.Warn("another program changes "+t.name+" again and again, so it is put back less often from now on", "cure", cure)
		}
	}
	return err
}

// HostChanged tells the Host that policy rules or the firewall have changed, perhaps by this
// program itself. The Host puts back what is missing, and notices whether a pause of the
// kill switch has begun or ended.
func (h *Host) HostChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mend()
}

// NetworkChanged tells the Host that routes, addresses or links of the host have changed, so
// that other networks may be local now.
func (h *Host) NetworkChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mend()
	if h.ended {
		return
	}
	err := h.look()
	if err == nil {
		err = h.apply(nil)
	}
	if err != nil {
		slog.Warn("could not find out which networks are local now", "error", err)
	}
	h.changed()
}

// ClockJumped tells the Host that the machine was suspended. The kernel's clock for a pause of
// the kill switch stood still meanwhile, and the machine may be elsewhere by now: so the pause ends.
func (h *Host) ClockJumped() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mending.paused && !h.ended {
		if err := killswitch.EndPause(); err != nil {
			slog.Error("the kill switch stays paused, though the machine was suspended", "error", err)
		}
	}
	h.mend()
}

// mend puts back what is missing.
func (h *Host) mend() {
	if h.ended {
		return
	}
	h.pause()
	r := &round{now: time.Now()}
	m := &h.mending
	if err := h.apply(r); err != nil {
		r.again = tryEvery
		if time.Since(m.failed) >= tellEvery {
			m.failed = time.Now()
			slog.Warn("what another program has changed could not be put back yet", "error", err)
		}
	}
	if r.again > 0 {
		h.lookAgain(r.again)
	}
	if len(r.mended) > 0 && time.Since(m.told) >= tellEvery {
		m.told = time.Now()
		slog.Warn("another program has changed what keeps this host's traffic in the tunnel; it is back", "what", strings.Join(r.mended, ", "))
	}
	h.changed()
}

// lookAgain arranges for HostChanged to be called once more.
func (h *Host) lookAgain(after time.Duration) {
	if h.mending.again != nil {
		h.mending.again.Stop()
	}
	h.mending.again = time.AfterFunc(after, h.HostChanged)
}

// pause gives the host back while the kill switch is paused, so that programs ask the host's
// own resolvers. It ends the pause when the tunnel is up.
func (h *Host) pause() {
	if h.kill == nil {
		return
	}
	m := &h.mending
	left := killswitch.Paused()
	switch {
	case left == 0:
		if m.paused {
			slog.Warn("the pause is over: the kill switch is closed")
		}
		m.paused = false
		return
	case h.up:
		if err := killswitch.EndPause(); err != nil {
			slog.Error("the kill switch stays paused, though the tunnel is up", "error", err)
			return
		}
		slog.Warn("the tunnel is up: the kill switch is not paused any more")
		m.paused = false
		return
	}
	if !m.paused {
		slog.Warn("the kill switch is paused: everything leaves this host in the clear", "for", left)
		m.paused = true
	}
	if err := h.release(); err != nil {
		slog.Warn("names may not be found during the pause", "error", err)
	}
	h.lookAgain(left)
}

// killSwitch returns the state of the kill switch: "closed", "paused" or "off".
func (h *Host) killSwitch() string {
	switch {
	case h.kill == nil:
		return "off"
	case h.mending.paused:
		return "paused"
	}
	return "closed"
}
