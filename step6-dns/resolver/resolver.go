// Package resolver answers the DNS queries of the tunnel's clients: it asks an upstream resolver for them and remembers
// the answers. It listens on the tunnel's own addresses, so queries travel inside the tunnel and leave under the server's
// address. It is a forwarder (RFC 9499): it does not walk down from the root itself. Introduced in step 6.
//
// This is the way of a query, from the socket to the cache to the upstream, and back. Read query.go first:
//
//	resolver.go  how the server starts and ends
//	serve.go     messages come in, over UDP and TCP, and replies go out
//	query.go     what becomes of a query
//	parse.go     what can be said of it without asking anybody: malformed, refused, or known here
//	cache.go     what is remembered, and for how long
//	upstream.go  which upstream is asked, in which order, and when one is taken for dead
//
// The rest, each file with the failure that it is there for:
//
//	config.go    a setting can't work; nobody knows what is bounded
//	listen.go    neighbours of this host ask; another program has the port
//	quota.go     a flood of queries takes all memory; one client takes what belongs to all
//	exchange.go  somebody forges an answer
//	believe.go   an upstream says more than it was asked
//	counters.go  nobody can tell why queries fail
//
// Answers are not validated: the AD bit is always clear, and a client that sets DO gets the signatures. Queries to the
// upstream are in the clear. No option of a client goes upstream; cookies and padding are not answered. A TTL is never
// made longer, and nothing is served stale. A firewall on this host must let queries in from the tunnel. Names that are
// private by custom only (local, home.arpa, the reverse zones of private addresses) do go upstream.
package resolver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Server answers queries until it is closed. Its methods are safe for concurrent use.
type Server struct {
	counters
	cfg            Config
	waiting, conns *quota // queries that wait for an upstream, and TCP connections
	cache          *cache
	flight         singleflight.Group // questions on their way to an upstream
	upstreams      []*upstream        // by UDP, and then the same by TCP

	ctx     context.Context // ends at Close, and when a socket fails
	stop    context.CancelFunc
	sockets []Sockets
	workers sync.WaitGroup
	trouble sync.Once // says in the log that a socket fails
}

// Start listens on all addresses, and answers from then on. If it fails, nothing is left behind.
func Start(cfg Config) (*Server, error) {
	sockets, err := Listen(cfg)
	if err != nil {
		return nil, err
	}
	return Serve(cfg, sockets)
}

// Serve answers at sockets of Listen, which are its own from then on.
func Serve(cfg Config, sockets []Sockets) (*Server, error) {
	if err := cfg.complete(); err != nil {
		closeAll(sockets)
		return nil, err
	}
	s := &Server{cfg: cfg, sockets: sockets, cache: newCache(maxEntries, maxBytes)}
	s.waiting = newQuota(maxWaiting, maxWaitingPerClient, cfg.Client)
	s.conns = newQuota(maxConns, maxConnsPerClient, cfg.Client)
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range cfg.Upstreams {
			s.upstreams = append(s.upstreams, &upstream{addr: addr, network: network})
		}
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, at := range sockets {
		for range readers {
			query := make([]byte, maxQuery+1)
			s.repeat(func() error { return s.receive(at.UDP, query) })
		}
		s.repeat(func() error { return s.accept(at.TCP) })
	}
	slog.Debug("resolver: listening", "addrs", cfg.Addrs, "port", cfg.Port, "dev", cfg.Device, "upstreams", cfg.Upstreams)
	return s, nil
}

// Close ends the server: nothing of it runs any more when Close returns. Queries that still wait for an upstream get no
// answer. It may be called more than once.
func (s *Server) Close() error {
	s.end()
	s.workers.Wait()
	return nil
}

// end makes all that runs end soon.
func (s *Server) end() {
	closeAll(s.sockets)
	s.stop()
}

// now is the time, for all that has a limit or gets old.
func (s *Server) now() time.Time { return s.cfg.limits.now() }
