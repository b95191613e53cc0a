package dashboard

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"stepvpn/step7-auth/source"
)

// The limits of connections. No network can hold all of them, however many addresses it has, so there
// are some left for the operator. The users of this host can. So when all are taken, one makes room: that without a
// session that has been idle for longest.
const (
	maxConns = 256
	maxOfOne = 48 // of one address; each wider network around it (package source) may have twice as many
)

// A boundedListener closes connections beyond the limits.
type boundedListener struct {
	net.Listener
	*bounded
}

// A bounded counts connections.
type bounded struct {
	mu   sync.Mutex // guards all below, and what conns have of use and session
	uses uint64     // of all connections
	all  map[*counted]struct{}
	open map[netip.Prefix]int
}

func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept() // net/http waits after an error that passes
		if err != nil {
			return nil, err
		}
		c := &counted{Conn: conn, of: b.bounded, networks: source.Networks(nil, addrOf(conn.RemoteAddr().String()))}
		idlest, ok := b.enter(c)
		if idlest != nil {
			idlest.Conn.Close()
		}
		if ok {
			return c, nil
		}
		conn.Close()
	}
}

// enter counts a connection, unless there are too many. idlest is one that has to be closed for it, or nil.
func (b *bounded) enter(c *counted) (idlest *counted, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, p := range c.networks { // the widest comes first
		if b.open[p] >= maxOfOne<<min(len(c.networks)-1-i, 1) && !addrOf(c.RemoteAddr().String()).IsLoopback() {
			return nil, false
		}
	}
	if len(b.all) >= maxConns {
		for other := range b.all {
			if !other.session && (idlest == nil || other.use < idlest.use) {
				idlest = other
			}
		}
		if idlest == nil {
			return nil, false
		}
		b.remove(idlest)
	}
	if b.open == nil {
		b.open, b.all = make(map[netip.Prefix]int), make(map[*counted]struct{})
	}
	b.uses++
	c.use = b.uses
	b.all[c] = struct{}{}
	for _, p := range c.networks {
		b.open[p]++
	}
	return idlest, true
}

// remove needs b.mu. It leaves alone what is not counted any more.
func (b *bounded) remove(c *counted) {
	if _, is := b.all[c]; !is {
		return
	}
	delete(b.all, c)
	for _, p := range c.networks {
		if b.open[p]--; b.open[p] == 0 {
			delete(b.open, p)
		}
	}
}

// A counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	of       *bounded
	networks []netip.Prefix
	use      uint64 // the latest request on it, or its begin, as a number of bounded.uses
	session  bool   // the latest request on it had a session
}

func (c *counted) Close() error {
	c.of.mu.Lock()
	c.of.remove(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

type connKey struct{}

// withConn is for http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if secured, is := c.(*tls.Conn); is {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// noteUse notes that a request has come, with a session or not.
func noteUse(ctx context.Context, session bool) {
	c, is := ctx.Value(connKey{}).(*counted)
	if !is {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.uses++
	c.use, c.session = c.of.uses, session
}

// addrOf returns the address in "ADDRESS:PORT", or the zero value.
func addrOf(s string) netip.Addr {
	a, _ := netip.ParseAddrPort(s)
	return a.Addr().Unmap()
}

// localAddress returns the address that a request came to, which the host may have got after the start.
func localAddress(r *http.Request) []string {
	if a, is := r.Context().Value(http.LocalAddrContextKey).(net.Addr); is {
		return []string{addrOf(a.String()).String()}
	}
	return nil
}
