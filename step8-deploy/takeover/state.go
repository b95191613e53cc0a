package takeover

import (
	"reflect"
	"slices"
)

// A State is how the host is, for whoever tells the operator.
type State struct {
	KillSwitch string   // "closed", "paused" or "off"
	NotLocal   []string // networks that have a route of their own, and are not local all the same
	Notes      []string // what of this host does not go through the tunnel, or not as it used to; see notes

	// Reason is what does not work though there is a tunnel, and Cure what to do about
	// it; both are empty if all does.
	Reason, Cure string
}

// Tell has tell called with the State, now and whenever it changes. It must not block.
// There is one at a time; nil ends it.
func (h *Host) Tell(tell func(State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell, h.told = tell, State{}
	h.changed()
}

// changed tells, if there is anything new.
func (h *Host) changed() {
	if h.tell == nil {
		return
	}
	now := State{KillSwitch: h.killSwitch(), Notes: h.notes(), Reason: h.nameless.reason, Cure: h.nameless.cure}
	for _, c := range slices.Concat(h.lan.Claims, h.lan.Inside) {
		now.NotLocal = append(now.NotLocal, c.String())
	}
	h.note(now.Notes)
	if !reflect.DeepEqual(now, h.told) {
		h.told = now
		h.tell(now)
	}
}

// Alive returns as soon as the lock is not held for ever.
func (h *Host) Alive() {
	h.mu.Lock()
	h.mu.Unlock() //lint:ignore SA2001 that it can be had is what counts
}
