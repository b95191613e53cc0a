package netlab

import (
	"slices"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"stepvpn/shared/lab/zone"
)

// A DNS is a DNS server that knows the names of the lab, as package zone describes it. It
// is safe for concurrent use.
type DNS struct {
	mu        sync.Mutex
	questions []string                    // guarded by mu
	answer    func(q zone.Query) *dns.Msg // guarded by mu
}

// Questions returns a line per question, such as
// "198.51.100.10 web.example. A udp".
func (d *DNS) Questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.questions)
}

// Answer makes the server answer with what f returns, unchanged; if f returns nil, there
// is no answer. Without a call of Answer, f is zone.Answer. f must be safe for concurrent
// use. The server does not end before all calls of f have returned.
func (d *DNS) Answer(f func(q zone.Query) *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = f
}

// note notes a query and returns the function that answers it.
func (d *DNS) note(q zone.Query) (answer func(q zone.Query) *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.questions = append(d.questions, q.From+" "+q.Question()+" "+q.Network)
	return d.answer
}

// ServeDNS serves the names of the lab on port 53 of all addresses of the host,
// until the test ends.
func (h *Host) ServeDNS(t testing.TB) *DNS {
	t.Helper()
	d := &DNS{answer: zone.Answer}
	var server *zone.Server
	var err error
	h.Do(func() {
		server, err = zone.Start(":53", func(q zone.Query) *dns.Msg { return d.note(q)(q) })
	})
	if err != nil {
		t.Fatalf("%s# serving DNS: %v", h.Name, err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("%s# the end of DNS: %v", h.Name, err)
		}
	})
	return d
}
