package push

import (
	"log/slog"
	"reflect"
	"sync"
)

// A Receiver takes the settings out of the handshakes of one connection. The zero
// value is ready, and it is safe for concurrent use.
type Receiver struct {
	mu       sync.Mutex
	taken    bool     // guarded by mu
	settings Settings // of the first handshake; guarded by mu
}

// Take takes the payload of a handshake. It is meant as OnPayload of a session: an
// error refuses the handshake. The settings of the first one count. New keys bring
// them again, and if these differ a warning says so.
func (r *Receiver) Take(payload []byte) error {
	s, err := Parse(payload)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.taken:
		r.settings, r.taken = s, true
	case !reflect.DeepEqual(r.settings, s):
		slog.Warn("the server has other settings now: connect again to use them", "dns", s.DNS, "search", s.Search)
	}
	return nil
}

// Settings returns what came.
func (r *Receiver) Settings() Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}
