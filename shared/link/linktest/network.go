package linktest

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"stepvpn/shared/link"
)

// A Network connects one server and any number of clients in memory. Unlike with
// link.Pipe, each end has an address, and closing one end leaves the others open.
type Network struct {
	tap atomic.Pointer[Tap]

	mu   sync.RWMutex // guards ends
	ends map[netip.AddrPort]*End
}

// queueLen is how many packets may wait at one end of a Network. Further ones are lost.
const queueLen = 4096

// A Tap sees each packet on its way, and returns whether it arrives. It must not keep or
// change the packet, and must be safe for concurrent use.
type Tap func(from, to netip.AddrPort, p []byte) bool

// Tap sets the tap; nil removes it.
func (n *Network) Tap(t Tap) { n.tap.Store(&t) }

// An End is one end of a Network. Packets on their way wait in a queue; if it is full,
// they are lost, as with UDP.
type End struct {
	network *Network
	to      netip.AddrPort // where a client's end sends to; zero for a server's
	in      chan datagram
	closed  chan struct{}
	close   func()

	mu   sync.Mutex // guards addr
	addr netip.AddrPort
}

type datagram struct {
	from  netip.AddrPort
	bytes []byte
}

// Attach makes an end with an address, which must be free. A client's end sends to the
// address to. For a server's end, to is zero: it sends to the address of each burst.
func (n *Network) Attach(addr, to netip.AddrPort) *End {
	e := &End{network: n, to: to, in: make(chan datagram, queueLen), closed: make(chan struct{})}
	e.close = sync.OnceFunc(func() {
		close(e.closed)
		e.Move(netip.AddrPort{})
	})
	e.Move(addr)
	return e
}

// Move gives the end another address, which must be free.
func (e *End) Move(addr netip.AddrPort) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if n.ends == nil {
		n.ends = make(map[netip.AddrPort]*End)
	}
	delete(n.ends, e.addr)
	e.addr = addr
	if !addr.IsValid() {
		return
	}
	if n.ends[addr] != nil {
		panic("linktest: address in use")
	}
	n.ends[addr] = e
}

// Addr returns the address of the end.
func (e *End) Addr() netip.AddrPort {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.addr
}

// Inject delivers a packet as if it came from an address.
func (n *Network) Inject(from, to netip.AddrPort, p []byte) {
	n.mu.RLock()
	e := n.ends[to]
	n.mu.RUnlock()
	if e == nil {
		return
	}
	select {
	case e.in <- datagram{from, append([]byte(nil), p...)}:
	default: // like a full socket buffer
	}
}

// ReadBurst waits for one packet.
func (e *End) ReadBurst(b *link.Burst) error {
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

// WriteBurst sends the packets of b.
func (e *End) WriteBurst(b *link.Burst) error {
	select {
	case <-e.closed:
		return net.ErrClosed
	default:
	}
	from, to := e.Addr(), e.to
	if !to.IsValid() {
		to = b.Addr
	}
	for i := range b.Len() {
		if tap := e.network.tap.Load(); tap == nil || *tap == nil || (*tap)(from, to, b.At(i)) {
			e.network.Inject(from, to, b.At(i))
		}
	}
	return nil
}

// Close takes the end off the network.
func (e *End) Close() error {
	e.close()
	return nil
}
