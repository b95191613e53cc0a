package netlab

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"stepvpn/shared/lab/site"
)

// A Site is the lab's web site, as package site describes it. Its methods are safe for
// concurrent use.
type Site struct {
	mu     sync.Mutex
	visits []string // guarded by mu
}

// Visits returns a line per visit, such as "198.51.100.10 GET /whoami".
func (s *Site) Visits() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.visits)
}

// Visited reports whether the last visit was from the address.
func (s *Site) Visited(address string) bool {
	visits := s.Visits()
	return len(visits) > 0 && strings.HasPrefix(visits[len(visits)-1], address+" ")
}

// ServeSite serves the web site on port 80 of all addresses of the host, until
// the test ends.
func (h *Host) ServeSite(t testing.TB) *Site {
	t.Helper()
	s := &Site{}
	server := site.New(func(address, request string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.visits = append(s.visits, address+" "+request)
	})
	var l net.Listener
	var err error
	h.Do(func() { l, err = net.Listen("tcp", ":80") })
	if err != nil {
		t.Fatalf("%s# serving the web site: %v", h.Name, err)
	}
	done := make(chan struct{})
	go func() {
		server.Serve(l) // ends by Close
		close(done)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return s
}
