package hub

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/join"
	"stepvpn/step7-auth/protocol"
)

// serveTCP starts a server that has a TCP socket besides, and with it a second queue of
// its device: what comes by TCP comes out there.
func serveTCP(t *testing.T) (w *world, tcp transport.Conn, queue link.Link) {
	w = &world{t: t, Network: new(linktest.Network), registry: newRegistry()}
	cfg := config(w.registry)
	var err error
	w.hub, err = New(cfg)
	require.NoError(t, err)
	w.count = cfg.Count
	tcp, err = transport.Listen(transport.TCP, "127.0.0.1:0", transport.Options{Drops: &cfg.Count.Drops})
	require.NoError(t, err)
	device, host := link.Pipe(1024)
	other, queue := link.Pipe(1024)
	w.device = host
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	socket := w.Attach(serverAddr, netip.AddrPort{})
	go func() {
		done <- w.hub.Run(ctx, Queue{Device: device, Socket: socket}, Queue{Device: other, Socket: tcp})
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(w.stop)
	return w, tcp, queue
}

// A stream is a TCP connection to a server, on which a test says what it likes.
type stream struct {
	t *testing.T
	net.Conn
}

func dialTCP(t *testing.T, tcp transport.Conn) stream {
	t.Helper()
	c, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return stream{t, c}
}

func (s stream) send(m []byte) {
	s.t.Helper()
	_, err := s.Write(append([]byte{byte(len(m) >> 8), byte(len(m))}, m...))
	require.NoError(s.t, err)
}

func (s stream) receive() []byte {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(20 * time.Second))
	var n [2]byte
	_, err := io.ReadFull(s, n[:])
	require.NoError(s.t, err)
	m := make([]byte, int(n[0])<<8|int(n[1]))
	_, err = io.ReadFull(s, m)
	require.NoError(s.t, err)
	return m
}

// enter connects a client, which must be let in, and returns its session.
func (s stream) enter(key noise.PrivateKey) *raw {
	s.t.Helper()
	r := newRaw(1)
	s.send(r.initiation(s.t, key, hello{Time: uint64(time.Now().UnixNano()), Instance: 1}))
	s.send(r.response(s.t, s.receive(), 64))
	s.receive() // the server's first packet under the new keys
	return r
}

// A client over TCP that does not read, and is the only one there, is nobody else's
// trouble: packets for others pass, new clients get in, and those who leave are told so.
// It reads just enough to keep its connection.
func TestAClientThatDoesNotReadHoldsUpNobody(t *testing.T) {
	w, tcp, _ := serveTCP(t)
	bob := w.connect(w.add(Account{Name: "bob"}))
	key := w.add(Account{Name: "mallory"})
	mallory := dialTCP(t, tcp)
	require.NoError(t, mallory.Conn.(*net.TCPConn).SetReadBuffer(4096))
	session := mallory.enter(key)
	addr := session.welcome.Addrs[0].Addr()

	// Many packets come for her.
	stop := make(chan struct{})
	var others sync.WaitGroup
	defer others.Wait()
	defer close(stop)
	others.Go(func() {
		b := link.NewBurst()
		p := ip(web, addr, string(make([]byte, 1400)))
		for {
			select {
			case <-stop:
				return
			default:
			}
			b.Reset()
			for range 40 {
				copy(b.Alloc(len(p)), p)
			}
			if w.device.WriteBurst(b) != nil {
				return
			}
		}
	})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				mallory.SetReadDeadline(time.Now().Add(time.Second))
				io.CopyN(io.Discard, mallory, 64<<10)
			}
		}
	})
	require.Eventually(t, func() bool { return w.count.Drops.Count(link.QueueFull) > 0 }, 20*time.Second, time.Millisecond,
		"a sender that has something for her waits")
	// She has her handshakes answered, too, and the receiving goroutine.
	for i := range 5 {
		r := newRaw(2)
		mallory.send(r.initiation(t, key, hello{Time: uint64(time.Now().UnixNano()), Instance: 1}))
		mallory.send(session.seal(nil, []byte{0, protocol.FirstKind, 1, 0, byte(i)}))
	}

	write(t, w.device, ip(web, bob.v4(), "are you there?"))
	require.Equal(t, ip(web, bob.v4(), "are you there?"), bob.receive(t))
	carolKey := w.add(Account{Name: "carol"})
	carol := w.connect(carolKey)
	write(t, carol, ip(carol.v4(), web, "I am in"))
	require.Equal(t, ip(carol.v4(), web, "I am in"), w.read())
	w.revoke(carolKey.Public())
	w.hub.Cut(carolKey.Public(), unknown)
	require.Equal(t, unknown.Reason, rejected(t, carol.fails(t)).Reason)
	require.Contains(t, w.names(), "mallory", "she was there all the time")
}

// A client that has a session over TCP keeps its connection, however many strangers come,
// and whatever they send. A client that connects anew keeps the new connection, even if it
// only says that it is there.
func TestStrangersDoNotPushOutAClient(t *testing.T) {
	w, tcp, queue := serveTCP(t)
	crowd := func() {
		t.Helper()
		before := w.count.Drops.Count(secure.BadMessage)
		const strangers = 2 * transport.DefaultMaxConns
		for i := range strangers {
			s := dialTCP(t, tcp)
			s.send([]byte{4, 0, 0, 0})
			require.Eventually(t, func() bool { return w.count.Drops.Count(secure.BadMessage) == before+uint64(i+1) }, 20*time.Second, time.Millisecond)
		}
	}
	first := dialTCP(t, tcp)
	alice := first.enter(w.add(Account{Name: "alice"}))
	says := func(s stream, text string) {
		t.Helper()
		p := ip(alice.welcome.Addrs[0].Addr(), web, text)
		s.send(alice.seal(nil, p))
		defer time.AfterFunc(20*time.Second, func() { queue.Close() }).Stop()
		b := link.NewBurst()
		require.NoError(t, queue.ReadBurst(b), "it does not come")
		require.Equal(t, p, b.At(0))
	}
	crowd()
	says(first, "still here")

	second := dialTCP(t, tcp)
	second.send(alice.seal(nil, nil)) // a keepalive
	endpoint := func() string { return w.hub.Snapshot()[0].Endpoint.String() }
	require.Eventually(t, func() bool { return endpoint() == second.LocalAddr().String() }, 20*time.Second, time.Millisecond)
	crowd()
	says(second, "and here")
	first.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.Copy(io.Discard, first)
	require.NoError(t, err, "the old connection is closed")
}

// Clients over TCP, for real.
func TestClientsOverTCP(t *testing.T) {
	w, tcp, _ := serveTCP(t)
	lower, err := transport.Dial(transport.TCP, tcp.Addr().String(), transport.Options{Drops: new(link.Drops)})
	require.NoError(t, err)
	alice, err := join.Client(t.Context(), lower, clientConfig(w.add(Account{Name: "alice"})))
	require.NoError(t, err)
	defer alice.Close()
	p := ip(web, alice.Addrs[0].Addr(), "by TCP")
	write(t, w.device, p)
	b := link.NewBurst()
	require.NoError(t, alice.ReadBurst(b))
	require.Equal(t, p, b.At(0))
}
