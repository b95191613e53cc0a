// Package pathmtu finds how long a packet may be for the path between client and server
// to carry it in one piece, and has both hosts keep to it. Introduced in step 8.
//
// It is path MTU discovery by probing (RFC 8899, in a simple form): messages of
// several lengths go to the server, inside the session, and no router may cut them
// up. The server answers each that has come by one of the same length, so a size counts
// when both ways carry it. What routers say (ICMP) is not needed, and not believed: only
// answers that authenticate count.
//
// The client's host keeps to the size by the MTU of its device. The server has one device
// for all clients; it is told what was found, and gives each client that has less room a
// route of its own, with an MTU. So each kernel does what a router does with a packet that
// is too long: it says so to the sender (ICMP "fragmentation needed", ICMPv6 "packet too
// big"), or fragments it, if it is IPv4's and may be.
//
// Read messages.go first, then this file, server.go, bounds.go and clamp.go.
//
// All sizes are in bytes and are those of packets in the tunnel, if nothing else is
// said.
//
// What is not covered: a size between two candidates is rounded down to the smaller; and
// packets from one client to another pass no kernel of the server, so nobody is told if
// they are too long for the path to the other.
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

// candidates are sizes of packets outside of the tunnel that paths have: Ethernet,
// PPPoE, other tunnels, the least of IPv6, the least of IPv4.
var candidates = []int{1500, 1492, 1480, 1472, 1460, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, 1280, 1200, 1000, 576}

const (
	wait     = time.Second // for the answers of a round
	rounds   = 4           // as often a probe is sent before it counts as too long
	interval = 10 * time.Minute
	tick     = time.Second
	repeats  = 3 // as often the server is told what was found

	least = 64 // what every path carries: its answer says that the server knows probes
)

// Safe is a size that every path of today's internet carries: what is left of the
// least MTU of IPv6 (RFC 8200, section 5) for a packet in the tunnel.
const Safe = packet.MinIPv6MTU - packet.IPv6HeaderLen - packet.UDPHeaderLen - secure.Overhead

// A Session is what a search asks the server by; secure.Conn is one.
type Session interface {
	Probe(kind byte, content []byte) error
	Control(kind byte, content []byte) error
	SetMTU(mtu int)
	Status() secure.Status
}

// A Path is the path of one session. Control may be called from any goroutine.
type Path struct{ answers chan answer }

// New returns a path of which nothing is known.
func New() *Path { return &Path{make(chan answer, 2*len(candidates))} }

// Control takes a control message of the server, as join.Config.OnControl.
func (p *Path) Control(kind byte, content []byte) error {
	a, ok := parseAnswer(content)
	if kind != kindAnswer || !ok {
		return nil // of a later version
	}
	select {
	case p.answers <- a:
	default: // nobody waits for it
	}
	return nil
}

// Config is what a search needs to know.
type Config struct {
	Server   netip.AddrPort
	Computed int // what the path should have room for, as far as the kernel knows
	Session  Session
	Fixed    bool // Computed it is, without a search
	// Found is told what the path has room for, after each search: Computed if the
	// server answers no probes. One of a version before answers for the way there alone.
	Found func(size int)
}

// Watch searches now and every ten minutes, until ctx or the Session ends, and has both
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

// tell tells the server a size: a few times, for it may get lost, and again whenever there
// are new keys, for the server may have been started anew. It returns when it is time to
// search again, or false when ctx has ended.
func (c *Config) tell(ctx context.Context, size found) bool {
	again := time.After(interval)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	var keys time.Time // when those came into use under which it is being told
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

// search finds the largest size that the path carries; ok is false if the server has
// answered nothing at all. It starts with the largest, which mostly fits, and sends
// all others only if that does not arrive.
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

// listen returns the largest of the sizes that is answered within a round's time.
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

// sizesFor returns what to try, the largest first: the candidates and what is
// computed. The kernel may have computed less than the path has room for, if it has
// believed a router; so the candidates beyond are tried, too.
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

// headers returns how much longer a packet is outside of the tunnel.
func headers(server netip.AddrPort) int {
	if server.Addr().Unmap().Is6() {
		return packet.IPv6HeaderLen + packet.UDPHeaderLen + secure.Overhead
	}
	return packet.IPv4HeaderLen + packet.UDPHeaderLen + secure.Overhead
}
