package takeover

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"stepvpn/step8-deploy/killswitch"
)

// mending is what the log has been told of it.
type mending struct {
	told   time.Time // when something was put back, the last time that the log had it
	failed time.Time // and when that failed
	paused bool
	again  *time.Timer // looks again when a pause is over, or when something has failed; nil if there was none
}

const (
	tellEvery = time.Minute // bounds how often the log has that something was put back, and that it failed
	tryEvery  = time.Second // until nothing fails any more
)

// NetworkChanged tells that routes, addresses or links of the host have changed: what
// is local may be another network now.
func (h *Host) NetworkChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.settle(); err != nil {
		slog.Warn("it is not known which networks are local by now", "error", err)
	}
	h.changed()
}

// HostChanged tells that somebody, perhaps this program, has changed policy rules or
// the firewall. What is missing is put back; a pause begins, or is over.
func (h *Host) HostChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pause()
	h.mend()
	h.changed()
}

// killSwitch returns what one would say of it: "closed", "paused" or "off".
func (h *Host) killSwitch() string {
	switch {
	case h.kill == nil:
		return "off"
	case h.mending.paused:
		return "paused"
	}
	return "closed"
}

// pause gives the host back while the kill switch is paused, so that names are asked
// for as they were, and ends a pause when the tunnel is up.
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

// lookAgain has HostChanged called once more.
func (h *Host) lookAgain(after time.Duration) {
	if h.mending.again != nil {
		h.mending.again.Stop()
	}
	h.mending.again = time.AfterFunc(after, h.HostChanged)
}

// mend puts back what is missing.
func (h *Host) mend() {
	var mended []string
	var errs []error
	failed := func(err error) { errs = append(errs, err) }
	if h.kill != nil {
		list, err := h.kill.Mend()
		mended = append(mended, list...)
		failed(err)
	}
	for s := range h.sockets {
		list, err := s.Mend()
		mended = append(mended, list...)
		failed(err)
	}
	if set, err := h.underlay.Mend(); set || err != nil {
		mended = append(mended, "nft table "+string(underlayName))
		failed(err)
	}
	if h.dev != nil {
		missing, err := h.keepLocal()
		failed(err)
		if missing > 0 {
			mended = append(mended, "policy rules for the local network")
		}
		list, err := h.pieces.Mend()
		mended = append(mended, list...)
		failed(err)
		for _, t := range h.tables {
			set, err := t.Mend()
			failed(err)
			if set {
				mended = append(mended, "nft table "+string(t.Name))
			}
		}
		set, err := h.inner.mend()
		failed(err)
		if set {
			mended = append(mended, "how long TCP's segments are")
		}
	}
	if err := errors.Join(errs...); err != nil {
		h.lookAgain(tryEvery)
		if time.Since(h.mending.failed) >= tellEvery {
			h.mending.failed = time.Now()
			slog.Warn("what another program has removed can't be put back so far", "error", err)
		}
	}
	if len(mended) > 0 && time.Since(h.mending.told) >= tellEvery {
		h.mending.told = time.Now()
		slog.Warn("another program has removed what keeps this host's traffic in the tunnel; it is back", "what", strings.Join(mended, ", "))
	}
}
