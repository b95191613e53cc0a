// Package pathmtu finds the longest packet that the path between client and server carries
// in one piece, and makes both hosts keep to that size. Introduced in step 8.
//
// It is path MTU discovery by probing (RFC 8899, in a simple form): the client sends
// messages of several lengths to the server, inside the session, and no router may
// fragment them. The server answers each that arrives with one of the same length, so a
// size counts if both directions carry it. What routers say (ICMP) is neither needed nor
// believed: only answers that authenticate count.
//
// The client's host keeps to the size through the MTU of its device. The server has one
// device for all clients; the client tells it the size, and each client whose path carries
// less than the device gets a route of its own, with an MTU. So each kernel handles a
// packet that is too long as a router does: it tells the sender (ICMP "fragmentation
// needed", ICMPv6 "packet too big"), or fragments the packet, if it is IPv4 and may be
// fragmented.
//
// Read messages.go first, then this file, server.go, bounds.go and clamp.go.
//
// All sizes are in bytes, of packets in the tunnel unless a comment says otherwise.
//
// What is not covered: a size between two candidates is rounded down to the smaller one.
// Packets from one client to another do not pass the server's kernel, so their sender is
// not told if they are too long for the path to the other client.
package pathmtu

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"stepvpn/step2-tun/packet"
	"stepvpn/step4-crypto/secure"
)

// candidates are common path MTUs, as sizes of packets outside of the tunnel: Ethernet,
// PPPoE, other tunnels, IPv6's minimum, and what every IPv4 host must accept.
var candidates = []int{1500, 1492, 1480, 1472, 1460, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1000, 576}

const (
	wait     = time.Second // how long to wait for the answers of a round
	rounds   = 4           // how often a probe is sent before its size counts as too long
	interval = 10 * time.Minute
	tick     = time.Second
	repeats  = 3 // how often the result is sent to the server

	least = 64 // a size that every path carries: its answer shows that the server knows probes
)

// Safe is a size that every path of today's internet carries: what the minimum MTU of IPv6
// (RFC 8200, section 5) leaves for a packet in the tunnel.
const Safe = packet.MinIPv6MTU - packet.IPv6HeaderLen - packet.UDPHeaderLen - secure.Overhead

// A Session is the session through which a search sends probes; secure.Conn is one.
type Session interface {
	Probe(kind byte, content []byte) error
	Control(kind byte, content []byte) error
	SetMTU(mtu int)
	Status() secure.Status
}

// A Path is the path of one session. Control may be called from any goroutine.
type Path struct{ answers chan answer }

// New returns a path about which nothing is known yet.
func New() *Path { return &Path{make(chan answer, 2*len(candidates))} }

// Control handles a control message of the server. It is meant as join.Config.OnControl.
func (p *Path) Control(kind byte, content []byte) error {
	a, ok := parseAnswer(content)
	if kind != kindAnswer || !ok {
		return nil // a message of a later version
	}
	select {
	case p.answers <- a:
	default: // no search is waiting for it
	}
	return nil
}

// Config is what a search needs to know.
type Config struct {
	Server   netip.AddrPort
	Computed int // what the path should have room for, as far as the kernel knows
	Session  Session
	Fixed    bool // use Computed, without a search
	// Found is called after each search with the size that the path carries, or with Computed
	// if the server answers no probes. A server of an earlier version answers only for the
	// direction to the server.
	Found func(size int)
}

// Watch searches now and every ten minutes, until ctx or the Session ends, and makes both
// ends keep to what it finds.
func (p *Path) Watch(ctx context.Context, cfg Config) {
	for size := cfg.Computed; ; {
		if !cfg.Fixed {
			best, ok, err := p.search(ctx, cfg)
			if err != nil || ctx.Err() != nil {
				return
			}
			if ok {
				size = best
			}
		}
		cfg.Session.SetMTU(size)
		cfg.Found(size)
		if !cfg.tell(ctx, found(size)) {
			return
		}
	}
}

// tell sends the server a size: a few times, as messages may get lost, and again whenever
// there are new keys, as the server may have been restarted. It returns true when it is time
// to search again, and false when ctx has ended.
func (c *Config) tell(ctx context.Context, size found) bool {
	again := time.After(interval)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	var keys time.Time // when the keys came into use under which the size was sent
	left := 0
	for {
		if since := c.Session.Status().Since; !since.IsZero() && since != keys {
			keys, left = since, repeats
		}
		if left > 0 {
			left--
			c.Session.Control(kindFound, size.append(nil))
		}
		select {
		case <-ctx.Done():
			return false
		case <-again:
			return true
		case <-clock.C:
		}
	}
}

// search finds the largest size that the path carries. ok is false if the server has not
// answered at all. search begins with the largest size, which usually fits, and sends the
// others only if that one does not arrive.
func (p *Path) search(ctx context.Context, cfg Config) (size int, ok bool, err error) {
	sizes := sizesFor(cfg)
	id := rand.Uint32() // answers to earlier searches don't count
	best := 0
	for round := range rounds {
		for i, n := range sizes {
			if n <= best || round == 0 && i != 0 && n != least {
				continue
			}
			q := probe{id: id, size: n - secure.ControlOverhead, both: true}
			if err := cfg.Session.Probe(kindProbe, q.append(nil)); err != nil {
				return 0, false, err
			}
		}
		if best = max(best, p.listen(ctx, id, sizes)); best == sizes[0] || ctx.Err() != nil {
			break
		}
	}
	return best, best > least, ctx.Err()
}

// listen returns the largest of the sizes that are answered within a round.
func (p *Path) listen(ctx context.Context, id uint32, sizes []int) (best int) {
	end := time.After(wait)
	for best < sizes[0] {
		select {
		case <-ctx.Done():
			return best
		case <-end:
			return best
		case a := <-p.answers:
			if n := a.size + secure.ControlOverhead; a.id == id && slices.Contains(sizes, n) {
				best = max(best, n)
			}
		}
	}
	return best
}

// sizesFor returns the sizes to try, the largest first: the candidates and the computed size.
// The kernel may have computed less than the path carries, if it has believed a router; so
// larger candidates are tried, too.
func sizesFor(cfg Config) []int {
	sizes := []int{least}
	if n := cfg.Computed; n > least && n < maxProbe {
		sizes = append(sizes, n)
	}
	for _, n := range candidates {
		sizes = append(sizes, n-headers(cfg.Server))
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	slices.Reverse(sizes)
	return sizes
}

// headers returns how many bytes longer a packet is outside of the tunnel.
func headers(server netip.AddrPort) int {
	if server.Addr().Unmap().Is6() {
		return packet.IPv6HeaderLen + packet.UDPHeaderLen + secure.Overhead
	}
	return packet.IPv4HeaderLen + packet.UDPHeaderLen + secure.Overhead
}
