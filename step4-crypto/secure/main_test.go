package secure

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// config returns a Config for NNpsk0 with a key that is n times n.
func config(n byte) Config {
	var psk [noise.KeyLen]byte
	for i := range psk {
		psk[i] = n
	}
	return Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &psk},
		Drops:     new(link.Drops),
	}
}

// ipPacket returns a packet that the session takes for IPv4, with some content.
func ipPacket(content string) []byte { return append([]byte{0x45}, content...) }

// A network joins one server and any number of clients in memory. Other than
// link.Pipe it has addresses, and closing one end leaves the others open.
type network struct {
	// tap, if set, sees each message on its way, and says whether it arrives.
	// It must not keep or change the message.
	tap func(from, to netip.AddrPort, m []byte) bool

	mu   sync.Mutex // guards ends
	ends map[netip.AddrPort]*end
}

type end struct {
	*network
	to     netip.AddrPort // where a client sends to; zero for the server
	in     chan datagram
	closed chan struct{}
	close  func()

	mu   sync.Mutex // guards addr
	addr netip.AddrPort
}

type datagram struct {
	from  netip.AddrPort
	bytes []byte
}

var (
	serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")
	aliceAddr  = netip.MustParseAddrPort("198.51.100.10:40000")
	bobAddr    = netip.MustParseAddrPort("198.51.100.11:40001")
)

func newNetwork() *network { return &network{ends: make(map[netip.AddrPort]*end)} }

// attach makes an end with an address, which must be free.
func (n *network) attach(addr, to netip.AddrPort) *end {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ends[addr] != nil {
		panic("address in use")
	}
	e := &end{network: n, to: to, addr: addr, in: make(chan datagram, 1024), closed: make(chan struct{})}
	e.close = sync.OnceFunc(func() {
		close(e.closed)
		e.move(netip.AddrPort{})
	})
	n.ends[addr] = e
	return e
}

func (n *network) server() *end { return n.attach(serverAddr, netip.AddrPort{}) }
func (n *network) client() *end { return n.attach(aliceAddr, serverAddr) }

// move gives the end another address.
func (e *end) move(addr netip.AddrPort) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ends, e.addr)
	e.addr = addr
	if addr.IsValid() {
		e.ends[addr] = e
	}
}

// inject delivers a message as if it came from an address.
func (n *network) inject(from, to netip.AddrPort, m []byte) {
	n.mu.Lock()
	e := n.ends[to]
	n.mu.Unlock()
	if e == nil {
		return
	}
	select {
	case e.in <- datagram{from, append([]byte(nil), m...)}:
	default: // like a full socket buffer
	}
}

func (e *end) ReadBurst(b *link.Burst) error {
	b.Reset()
	select {
	case <-e.closed:
		return net.ErrClosed
	case d := <-e.in:
		copy(b.Alloc(len(d.bytes)), d.bytes)
		b.Addr = d.from
		return nil
	}
}

func (e *end) WriteBurst(b *link.Burst) error {
	select {
	case <-e.closed:
		return net.ErrClosed
	default:
	}
	e.mu.Lock()
	from := e.addr
	e.mu.Unlock()
	to := e.to
	if !to.IsValid() {
		to = b.Addr
	}
	for i := range b.Len() {
		if e.tap == nil || e.tap(from, to, b.At(i)) {
			e.inject(from, to, b.At(i))
		}
	}
	return nil
}

func (e *end) Close() error {
	e.close()
	return nil
}
