package push

import (
	"log/slog"
	"reflect"
	"sync"
)

// A Receiver takes the settings out of the handshakes of one connection. The zero
// value is ready to use. A Receiver is safe for concurrent use.
type Receiver struct {
	mu       sync.Mutex
	taken    bool     // guarded by mu
	settings Settings // of the first handshake; guarded by mu
}

// Take parses the payload of a handshake. It is meant as a session's OnPayload, where an
// error refuses the handshake. Only the first handshake's settings are used. Each later
// handshake (for new keys) brings settings again; Take logs a warning if they differ.
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
		slog.Warn("the server's settings have changed: reconnect to use them", "dns", s.DNS, "search", s.Search)
	}
	return nil
}

// Settings returns the first handshake's settings, or the zero value before it.
func (r *Receiver) Settings() Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}
