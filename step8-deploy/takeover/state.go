package takeover

import (
	"reflect"
	"slices"
)

// A State is the state of the host, as the operator is told it.
type State struct {
	KillSwitch string   // "closed", "paused" or "off"
	NotLocal   []string // networks that have a route of their own, but do not count as local
	Notes      []string // traffic that does not go through the tunnel, or not as before; see notes

	// Reason is what does not work although there is a tunnel, and Cure what to do about
	// it; both are empty if everything works.
	Reason, Cure string
}

// Tell calls tell with the State, now and whenever it changes. tell must not block. It
// replaces the function that was set before; nil ends the calls.
func (h *Host) Tell(tell func(State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell, h.told = tell, State{}
	h.changed()
}

// changed calls that function if the State has changed.
func (h *Host) changed() {
	if h.tell == nil {
		return
	}
	now := State{KillSwitch: h.killSwitch(), Notes: h.notes(), Reason: h.namesFailed.reason, Cure: h.namesFailed.cure}
	for _, c := range slices.Concat(h.lan.Claims, h.lan.Inside) {
		now.NotLocal = append(now.NotLocal, c.String())
	}
	h.note(now.Notes)
	if !reflect.DeepEqual(now, h.told) {
		h.told = now
		h.tell(now)
	}
}

// Alive returns once it can take the lock. If it does not return, the Host hangs.
func (h *Host) Alive() {
	h.mu.Lock()
	h.mu.Unlock() //lint:ignore SA2001 what counts is that it can be locked
}
