package resolver

import "time"

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
