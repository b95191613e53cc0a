package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/join"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

var (
	serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")
	serverKey  = noise.GenerateKey()
	tunnelNet  = []netip.Prefix{netip.MustParsePrefix("10.8.0.1/16"), netip.MustParsePrefix("fd00:8::1/64")}
)

// A registry lists the clients that may come in, and gives each the addresses of its number.
// It is safe for concurrent use.
type registry struct {
	mu       sync.Mutex
	accounts map[noise.PublicKey]Account
	number   map[noise.PublicKey]int // sticky
	leased   map[noise.PublicKey]bool
	room     int // -1: enough
	left     []Gone
}

func newRegistry() *registry {
	return &registry{
		accounts: make(map[noise.PublicKey]Account),
		number:   make(map[noise.PublicKey]int),
		leased:   make(map[noise.PublicKey]bool),
		room:     -1,
	}
}

// add registers a client and returns its private key.
func (r *registry) add(a Account) noise.PrivateKey {
	key := noise.GenerateKey()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accounts[key.Public()] = a
	return key
}

func (r *registry) revoke(key noise.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.accounts, key)
}

func (r *registry) Lookup(key noise.PublicKey) (Account, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.accounts[key]
	return a, ok
}

func (r *registry) Lease(key noise.PublicKey, _ time.Time) ([]netip.Prefix, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.number[key]
	if !ok {
		if r.room == 0 {
			return nil, errors.New("no more")
		}
		r.room--
		n = len(r.number) + 2
		r.number[key] = n
	}
	r.leased[key] = true
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 8, byte(n >> 8), byte(n)}), 16),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 8, 14: byte(n >> 8), 15: byte(n)}), 64),
	}, nil
}

func (r *registry) Left(left []Gone) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range left {
		if !r.leased[g.Key] {
			panic("released twice")
		}
		delete(r.leased, g.Key)
	}
	r.left = append(r.left, left...)
}

func (r *registry) Login(context.Context, noise.PublicKey, Source, string, string) error {
	return errors.New("no passwords here")
}

// holding returns how many have a lease.
func (r *registry) holding() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.leased)
}

func (r *registry) gotten() []Gone {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Gone(nil), r.left...)
}

// A world is a server with a hub, and a network in which clients can be.
type world struct {
	t *testing.T
	*linktest.Network
	*registry
	hub    *Hub
	device link.Link // the host's side of the server's device
	count  *tunnel.Counters
	stop   func()
	next   atomic.Uint32 // port
}

func config(r *registry) Config {
	key := serverKey
	return Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &key},
		Addrs:     tunnelNet,
		Settings:  []byte("settings"),
		MTU:       1420,
		Admission: r,
		Count:     new(tunnel.Counters),
	}
}

// serve starts a server. change may change its configuration.
func serve(t *testing.T, change func(*Config)) *world {
	w := &world{t: t, Network: new(linktest.Network), registry: newRegistry()}
	w.start(change)
	return w
}

// start starts the server anew: it has lost all memory but the registry.
func (w *world) start(change func(*Config)) {
	cfg := config(w.registry)
	if change != nil {
		change(&cfg)
	}
	var err error
	w.hub, err = New(cfg)
	require.NoError(w.t, err)
	w.count = cfg.Count
	device, host := link.Pipe(1024)
	w.device = host
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	socket := w.Attach(serverAddr, netip.AddrPort{})
	go func() { done <- w.hub.Run(ctx, Queue{Device: device, Socket: socket}) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-done)
	})
	w.t.Cleanup(w.stop)
}

// endpoint returns a new place in the network.
func (w *world) endpoint() *linktest.End {
	port := uint16(40000 + w.next.Add(1))
	return w.Attach(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.10"), port), serverAddr)
}

func clientConfig(key noise.PrivateKey) join.Config {
	server := serverKey.Public()
	return join.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &key, PeerStatic: &server},
		Drops:     new(link.Drops),
	}
}

// A machine is a client that is connected, and reads.
type machine struct {
	*join.Session
	end   *linktest.End
	drops *link.Drops
	in    chan []byte
	ended chan error
}

// connect connects a client, which must be let in.
func (w *world) connect(key noise.PrivateKey) *machine {
	w.t.Helper()
	m, err := w.try(clientConfig(key))
	require.NoError(w.t, err)
	return m
}

func (w *world) try(cfg join.Config) (*machine, error) {
	m := &machine{end: w.endpoint(), drops: cfg.Drops, in: make(chan []byte, 1024), ended: make(chan error, 1)}
	var err error
	if m.Session, err = join.Client(w.t.Context(), m.end, cfg); err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { m.Close() })
	go func() {
		b := link.NewBurst()
		for {
			if err := m.ReadBurst(b); err != nil {
				m.ended <- err
				return
			}
			for i := range b.Len() {
				m.in <- append([]byte(nil), b.At(i)...)
			}
		}
	}()
	return m, nil
}

func (m *machine) v4() netip.Addr { return m.Addrs[0].Addr() }
func (m *machine) v6() netip.Addr { return m.Addrs[1].Addr() }

// ip returns a packet, as short as it can be, with some content.
func ip(src, dst netip.Addr, content string) []byte {
	if src.Is4() {
		p := make([]byte, 20, 20+len(content))
		p[0] = 0x45
		binary.BigEndian.PutUint16(p[2:], uint16(20+len(content)))
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
		return append(p, content...)
	}
	p := make([]byte, 40, 40+len(content))
	p[0] = 0x60
	binary.BigEndian.PutUint16(p[4:], uint16(len(content)))
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	return append(p, content...)
}

func write(t testing.TB, l link.Link, packets ...[]byte) {
	t.Helper()
	b := link.NewBurst()
	for _, p := range packets {
		copy(b.Alloc(len(p)), p)
	}
	require.NoError(t, l.WriteBurst(b))
}

// read returns the next packet that the server's host gets from its device.
func (w *world) read() []byte {
	w.t.Helper()
	b := link.NewBurst()
	require.NoError(w.t, w.device.ReadBurst(b))
	require.Equal(w.t, 1, b.Len())
	return b.At(0)
}

// receive returns the next packet that the client gets.
func (m *machine) receive(t testing.TB) []byte {
	t.Helper()
	select {
	case p := <-m.in:
		return p
	case err := <-m.ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.Fail(t, "no packet came")
	}
	return nil
}

// fails returns why the client's session has ended.
func (m *machine) fails(t testing.TB) error {
	t.Helper()
	select {
	case err := <-m.ended:
		return err
	case <-time.After(time.Minute):
		require.Fail(t, "the session goes on")
		return nil
	}
}

// rejected returns the *secure.Rejected in err.
func rejected(t testing.TB, err error) secure.Rejected {
	t.Helper()
	r, ok := errors.AsType[*secure.Rejected](err)
	require.True(t, ok, "%v", err)
	return *r
}

// dropped waits until n packets were dropped for a reason.
func (w *world) dropped(why link.Reason, n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.count.Drops.Count(why) == uint64(n) }, 20*time.Second, time.Millisecond,
		"%v: want %d; %v", why, n, fmt.Stringer(&w.count.Drops))
}

var web = netip.MustParseAddr("203.0.113.80")
var web6 = netip.MustParseAddr("2001:db8:80::80")
