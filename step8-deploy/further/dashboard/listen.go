package dashboard

import (
	"net"
	"net/netip"
	"sync"

	"stepvpn/step7-auth/source"
)

// The limits of connections. No network can hold all of them, however many addresses it has, so there
// are some left for the operator.
const (
	maxConns   = 256
	maxOfOne   = 48 // of one address; each wider network around it (package source) may have twice as many
	maxOfLocal = maxConns
)

// A boundedListener closes a connection beyond the limits at once.
type boundedListener struct {
	net.Listener
	*bounded
}

// A bounded counts connections.
type bounded struct {
	mu   sync.Mutex // guards all below
	n    int
	open map[netip.Prefix]int
}

func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept() // net/http waits after an error that passes
		if err != nil {
			return nil, err
		}
		networks := source.Networks(nil, addrOf(c.RemoteAddr().String()))
		if !b.enter(networks) {
			c.Close()
			continue
		}
		return &counted{Conn: c, leave: sync.OnceFunc(func() { b.leave(networks) })}, nil
	}
}

// enter counts a connection, unless there are too many.
func (b *bounded) enter(networks []netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n >= maxConns {
		return false
	}
	for i, p := range networks { // the widest comes first
		limit := maxOfOne << min(len(networks)-1-i, 1)
		if p.Addr().IsLoopback() {
			limit = maxOfLocal
		}
		if b.open[p] >= limit {
			return false
		}
	}
	if b.open == nil {
		b.open = make(map[netip.Prefix]int)
	}
	b.n++
	for _, p := range networks {
		b.open[p]++
	}
	return true
}

func (b *bounded) leave(networks []netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n--
	for _, p := range networks {
		if b.open[p]--; b.open[p] == 0 {
			delete(b.open, p)
		}
	}
}

// A counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// addrOf returns the address in "ADDRESS:PORT", or the zero value.
func addrOf(s string) netip.Addr {
	a, _ := netip.ParseAddrPort(s)
	return a.Addr().Unmap()
}
