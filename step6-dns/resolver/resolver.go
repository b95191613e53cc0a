// Package resolver answers the DNS queries of the tunnel's clients: it asks an
// upstream resolver for them and remembers the answers. Introduced in step 6.
//
// It listens on the tunnel's own addresses, so queries travel inside the tunnel
// and leave the server under the server's address. It is a forwarder (RFC 9499):
// it does not walk down from the root itself.
//
// Read it in this order. Each file is one idea:
//
//	resolver.go   Start, Close
//	config.go     what may be set; upstreams.go for a flag
//	limits.go     what may not
//	listen.go     sockets that hear the tunnel and nobody else
//	udp.go tcp.go bytes in, bytes out
//	query.go      what a query asks, and which ones are refused
//	local.go      names that are answered here and asked nowhere
//	lookup.go     from cache, by a question that is on its way already, or upstream
//	cache.go      what is remembered, and for how long
//	answer.go     what of an upstream's answer is believed
//	negative.go   what is believed of what does not exist
//	upstream.go   which upstream is asked, and what happens when it is dead
//	exchange.go   one question to one upstream, and how its answer is known
//	reply.go      what the client gets
//	quota.go      no client takes what belongs to all
//	counters.go   what is counted, and every reason to refuse
//
// # What is not covered
//
// Answers are not validated: the AD bit is always clear. A client that sets DO
// gets the signatures and can do so itself. Queries to the upstream are in the
// clear, as those of most resolvers. There is no EDNS Client Subnet, and no
// other option of a client goes upstream; cookies and padding are not answered.
// The authority and additional sections carry only what a negative or a signed
// answer needs. A TTL is never made longer, and nothing is served stale. A
// firewall on this host must let queries in from the tunnel. Names that are
// private by custom only (local, home.arpa, the reverse zones of private
// addresses) do go upstream, which may well know them.
package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// A Server answers queries until it is closed. Its methods are safe for
// concurrent use.
type Server struct {
	cfg       Config
	counts    counters
	waiting   *quota // queries that wait for an upstream
	conns     *quota // TCP connections
	upstreams []*upstream
	known     lookups

	ctx     context.Context // ends at Close, and when a listener fails
	stop    context.CancelCauseFunc
	sockets []Sockets
	workers sync.WaitGroup
}

// Start listens on all addresses, and answers from then on. If it fails,
// nothing is left behind.
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
	s := &Server{
		cfg:     cfg,
		sockets: sockets,
		waiting: newQuota(maxWaiting, maxWaitingPerClient),
		conns:   newQuota(maxConns, maxConnsPerClient),
		known:   newLookups(),
	}
	for _, addr := range cfg.Upstreams {
		s.upstreams = append(s.upstreams, &upstream{addr: addr})
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())

	run := func(serve func() error) {
		s.workers.Go(func() {
			if err := serve(); err != nil {
				slog.Error("resolver: names are answered no more", "error", err)
				s.stop(err)
				closeAll(s.sockets)
			}
		})
	}
	for _, at := range sockets {
		run(func() error { return s.serveUDP(at.UDP) })
		run(func() error { return s.serveTCP(at.TCP) })
	}
	slog.Debug("resolver: listening", "addrs", cfg.Addrs, "port", cfg.Port, "dev", cfg.Device, "upstreams", cfg.Upstreams)
	return s, nil
}

// errClosed is why a server ended that was closed.
var errClosed = fmt.Errorf("resolver: %w", net.ErrClosed)

// Close ends the server: nothing of it runs any more when Close returns. Queries
// that still wait for an upstream get no answer. It may be called more than once.
func (s *Server) Close() error {
	s.stop(errClosed)
	closeAll(s.sockets)
	s.workers.Wait()
	return nil
}

// String gives all counters in one line, such as
//
//	queries 12, local 0, from cache 5, joined 1, upstream 6, failed 0; wrong answers 0; refused: none
//
// The queries that a reason was found to refuse are counted among all, too.
func (s *Server) String() string { return s.counts.String() }

// now is the time, for all that has a limit or gets old.
func (s *Server) now() time.Time { return s.cfg.limits.now() }
