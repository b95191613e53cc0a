// Package resolver answers the DNS queries of the tunnel's clients: it asks an
// upstream resolver for them and remembers the answers. Introduced in step 6.
//
// It listens on the tunnel's own addresses, so queries travel inside the tunnel
// and leave the server under the server's address. It is a forwarder (RFC 9499):
// it does not walk down from the root itself.
//
// Read it in this order. Each file is one idea:
//
//	resolver.go   Start, Close, and all limits
//	config.go     what may be set
//	listen.go     sockets that hear the tunnel and nobody else
//	udp.go tcp.go bytes in, bytes out
//	query.go      what a query asks, and which ones are refused
//	local.go      names that are answered here and asked nowhere
//	lookup.go     from cache, by a question that is on its way already, or upstream
//	cache.go      what is remembered, and for how long
//	answer.go     what of an upstream's answer is believed
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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// DefaultPort is that of DNS.
const DefaultPort = 53

const (
	maxAddrs     = 16 // addresses to listen on
	maxUpstreams = 8

	// maxQuery is the longest query in bytes, over UDP and TCP. A question with
	// the longest name and a dozen options is far below it.
	maxQuery = 4096
	// maxUDP is the longest answer over UDP in bytes, both ways: it needs no
	// fragments on any path of IPv6, in the tunnel and outside (RFC 9715).
	maxUDP = 1232

	// Queries that wait for an upstream. Each costs a goroutine, and a socket
	// unless another one asks the same.
	maxWaiting          = 4096
	maxWaitingPerClient = 1024

	maxConns          = 256 // TCP connections of clients
	maxConnsPerClient = 16
	maxPipelined      = 64 // queries of one connection that wait; then it is not read

	maxEntries = 10_000   // of the cache
	maxBytes   = 16 << 20 // of the cache
)

// limits are the times, which tests make shorter.
type limits struct {
	// try is how long an upstream may take. The second try of all gets half as
	// long again, and so on. When total is over, the client gets SERVFAIL. Most
	// clients wait for 5 s before they ask again; they should hear before.
	try, total time.Duration
	// down is how long an upstream is not preferred after downAfter failures.
	down time.Duration
	// failure is how long SERVFAIL is remembered. RFC 9520, section 3.2, asks for
	// 1 s at least.
	failure time.Duration
	// idle closes a TCP connection without a query. It bounds the time for a
	// query's last byte, too (RFC 7766, section 6.2.3).
	idle time.Duration
	// write is how long a client may take to accept an answer over TCP.
	write time.Duration
	now   func() time.Time
}

var defaultLimits = limits{
	try:     time.Second,
	total:   4500 * time.Millisecond,
	down:    10 * time.Second,
	failure: time.Second,
	idle:    10 * time.Second,
	write:   2 * time.Second,
	now:     time.Now,
}

// A Config says who is answered and who is asked.
type Config struct {
	// Addrs are the addresses to listen on, over UDP and TCP: those of the
	// tunnel on this host. They must be set on an interface.
	Addrs []netip.Addr

	// Device, if set, is the interface by which queries must arrive. Without it
	// the resolver is open to the neighbours of this host: Linux accepts a packet
	// to any of its addresses on any of its interfaces. With it, this host itself
	// is not answered either: its own packets arrive by lo.
	Device string

	// Port is the port to listen on. 0 means DefaultPort.
	Port uint16

	// Upstreams are the resolvers to ask, in the order of preference. There are
	// 1 to 8.
	Upstreams []netip.AddrPort

	limits limits
}

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
	sockets []io.Closer // complete when Start returns
	workers sync.WaitGroup
}

// Start listens on all addresses, and answers from then on. If it fails,
// nothing is left behind.
func Start(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		waiting: newQuota(maxWaiting, maxWaitingPerClient),
		conns:   newQuota(maxConns, maxConnsPerClient),
		known:   newLookups(),
	}
	for _, addr := range cfg.Upstreams {
		s.upstreams = append(s.upstreams, &upstream{addr: addr})
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())

	var serve []func() error
	for _, addr := range cfg.Addrs {
		udp, err := s.listenUDP(addr)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		tcp, err := s.listenTCP(addr)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		serve = append(serve, func() error { return s.serveUDP(udp) }, func() error { return s.serveTCP(tcp) })
	}
	for _, f := range serve {
		s.workers.Go(func() {
			if err := f(); err != nil {
				slog.Error("resolver: names are answered no more", "error", err)
				s.stop(err)
				s.closeSockets()
			}
		})
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
	s.closeSockets()
	s.workers.Wait()
	return nil
}

// Wait blocks until the server has ended. It returns nil after Close, and the
// error of a listener if that ended the server; all of it stops then.
func (s *Server) Wait() error {
	<-s.ctx.Done()
	s.workers.Wait()
	if err := context.Cause(s.ctx); !errors.Is(err, errClosed) {
		return err
	}
	return nil
}

func (s *Server) closeSockets() {
	for _, c := range s.sockets {
		c.Close()
	}
}

// String gives all counters in one line, such as
//
//	queries 12, local 0, from cache 5, joined 1, upstream 6, failed 0; wrong answers 0; refused: none
//
// The queries that a reason was found to refuse are counted among all, too.
func (s *Server) String() string { return s.counts.String() }

// now is the time, for all that has a limit or gets old.
func (s *Server) now() time.Time { return s.cfg.limits.now() }
