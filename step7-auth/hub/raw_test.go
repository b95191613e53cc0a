package hub

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// A raw client speaks the protocol without package secure, from the description in its
// message.go and handshakecontent.go alone, and without goroutines. So thousands fit into a
// test, and what the two packages agree on is what is written down.
type raw struct {
	addr      netip.AddrPort
	index     uint32
	handshake *noise.Handshake
	remote    uint32
	sending   *noise.Cipher
	counter   uint64
	welcome   protocol.Welcome
	packet    []byte // from its own address, to web
}

func newRaw(number int) *raw {
	return &raw{
		addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(number >> 8), byte(number)}), 9),
		index: uint32(number),
	}
}

// A hello is what an initiation carries.
type hello struct{ Time, Instance uint64 }

// initiation returns what asks the server for keys.
func (r *raw) initiation(t testing.TB, key noise.PrivateKey, h hello) []byte {
	server := serverKey.Public()
	var err error
	r.handshake, err = noise.New(noise.Config{
		Suite: noise.AESGCMSHA256, Pattern: noise.IK, Initiator: true, Prologue: []byte("stepvpn secure 3"),
		Static: &key, PeerStatic: &server,
	})
	require.NoError(t, err)
	m := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0}, r.index)
	payload := binary.LittleEndian.AppendUint64(nil, h.Time)
	m, err = r.handshake.WriteMessage(m, protocol.Hello{Instance: h.Instance}.Append(payload))
	require.NoError(t, err)
	return m
}

// response takes the server's answer, and returns the first message under the
// new keys, or nil if it is not the answer to the last initiation.
func (r *raw) response(t testing.TB, m []byte, size int) []byte {
	require.Equal(t, []byte{2, 0, 0, 0}, m[:4])
	require.Equal(t, r.index, binary.LittleEndian.Uint32(m[8:]))
	r.remote = binary.LittleEndian.Uint32(m[4:])
	payload, err := r.handshake.ReadMessage(nil, m[12:])
	if err != nil {
		return nil // the answer to an earlier one
	}
	require.Zero(t, payload[0], "accepted")
	r.welcome, err = protocol.ParseWelcome(payload[1:])
	require.NoError(t, err)
	r.sending, _, err = r.handshake.Split()
	require.NoError(t, err)
	r.packet = ip(r.welcome.Addrs[0].Addr(), web, string(make([]byte, size-20)))
	return r.seal(nil, nil)
}

// seal appends a data message to dst.
func (r *raw) seal(dst, packet []byte) []byte {
	start := len(dst)
	dst = append(dst, 4, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, r.remote)
	dst = binary.LittleEndian.AppendUint64(dst, r.counter)
	dst = r.sending.Seal(dst, r.counter, dst[start:], packet)
	r.counter++
	return dst
}

// A sink is an end that takes everything, and gives what it is told to.
type sink struct {
	link.Link
	packets int
	last    []byte // a copy, if keep
	class   byte   // of the last burst
	whole   bool   // it may not be fragmented
	keep    bool
}

func (s *sink) WriteBurst(b *link.Burst) error {
	s.packets += b.Len()
	s.class, s.whole = b.Hints.Class, b.Hints.DontFragment
	if s.keep && b.Len() > 0 {
		s.last = append(s.last[:0], b.At(b.Len()-1)...)
	}
	return nil
}

// A crowd is a hub that does not run, with clients that are connected to it.
type crowd struct {
	hub     *Hub
	queue   *queue
	socket  *sink
	clients []*raw
	across  *sealer
	in      *link.Burst
}

// gather connects clients that send packets of some size.
func gather(t testing.TB, clients, size int, change func(*Config)) *crowd {
	r := newRegistry()
	cfg := config(r)
	cfg.MaxClients = max(clients, 1)
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg)
	require.NoError(t, err)
	c := &crowd{hub: h, socket: &sink{keep: true}, in: link.NewBurst()}
	c.queue = c.hub.newQueue(Queue{Device: &sink{}, Socket: c.socket})
	c.across = h.newSealer(c.queue)
	for i := range clients {
		c.connect(t, newRaw(i), r.add(Account{Name: fmt.Sprint("c", i)}), size)
	}
	c.socket.keep = false
	require.Len(t, h.Snapshot(), clients)
	return c
}

func (c *crowd) connect(t testing.TB, client *raw, key noise.PrivateKey, size int) {
	k := handshake{via: c.queue, by: c.hub.entrances[0], from: client.addr}
	m := client.initiation(t, key, hello{Time: uint64(time.Now().UnixNano()), Instance: uint64(client.index) + 1})
	k.len = copy(k.message[:], m)
	answer := c.hub.admit(&k, time.Now())
	require.NotNil(t, answer)
	c.receive(t, client.addr, client.response(t, answer, size))
	c.clients = append(c.clients, client)
}

// receive lets the hub take messages from one address.
func (c *crowd) receive(t testing.TB, from netip.AddrPort, messages ...[]byte) {
	c.in.Reset()
	c.in.Addr = from
	for _, m := range messages {
		copy(c.in.Alloc(len(m)), m)
	}
	if err := c.hub.openBurst(c.queue, c.in, c.across, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// The steady state allocates nothing, in both directions, in bursts of any size,
// for one client after another, and with packets from client to client.
func TestAllocs(t *testing.T) {
	const runs = 200
	for _, n := range []int{1, 40} {
		c := gather(t, 10, 1400, func(cfg *Config) { cfg.ClientToClient = true })
		var sealed [][]byte
		for run := range runs + 10 {
			for i := range n {
				client := c.clients[(run*n+i)%len(c.clients)]
				if i%2 == 1 { // to its neighbour
					copy(client.packet[16:], c.clients[(run*n+i+1)%len(c.clients)].packet[12:16])
				}
				sealed = append(sealed, client.seal(nil, client.packet))
				copy(client.packet[16:], web.AsSlice())
			}
		}
		before := c.hub.count.Received.Packets()
		up := testing.AllocsPerRun(runs, func() {
			c.receive(t, c.clients[0].addr, sealed[:n]...)
			sealed = sealed[n:]
		})
		require.EqualValues(t, (runs+1)*n, c.hub.count.Received.Packets()-before)

		out := c.hub.newSealer(c.queue)
		next := 0
		down := testing.AllocsPerRun(runs, func() { c.send(t, out, n, &next) })
		require.Contains(t, c.hub.count.Drops.String(), "none")
		if !raceDetector {
			require.Zero(t, up, "from the clients, bursts of %d", n)
			require.Zero(t, down, "to the clients, bursts of %d", n)
		}
	}
}

// The hub hands on the class of a burst: to the clients, to the device, and from
// one client to another.
func TestClass(t *testing.T) {
	c := gather(t, 2, 100, func(cfg *Config) { cfg.ClientToClient = true })
	a, b := c.clients[0], c.clients[1]
	device := c.queue.Device.(*sink)
	burst := func(class byte, p []byte) *link.Burst {
		c.in.Reset()
		c.in.Addr, c.in.Hints.Class = a.addr, class
		copy(c.in.Alloc(len(p)), p)
		return c.in
	}
	toWeb := a.seal(nil, a.packet)
	copy(a.packet[16:], b.packet[12:16])
	toClient := a.seal(nil, a.packet)

	require.NoError(t, c.hub.openBurst(c.queue, burst(0b10, toWeb), c.across, time.Now()))
	require.NoError(t, device.WriteBurst(c.in))
	require.Equal(t, byte(0b10), device.class)
	require.NoError(t, c.hub.openBurst(c.queue, burst(0b11, toClient), c.across, time.Now()))
	require.Equal(t, byte(0b11), c.socket.class)

	down := ip(web, b.welcome.Addrs[0].Addr(), "")
	out := c.hub.newSealer(c.queue)
	for _, class := range []byte{0xb8, 0} {
		require.NoError(t, c.hub.sealBurst(burst(class, down), out, time.Now()))
		require.Equal(t, class, c.socket.class)
	}
	require.Contains(t, c.hub.count.Drops.String(), "none")
}

// While more is coming, sealed packets wait for it, to go together. They don't wait
// behind those of another class, or for another client.
func TestMore(t *testing.T) {
	c := gather(t, 2, 100, nil)
	out, sent := c.hub.newSealer(c.queue), 0
	for _, s := range []struct {
		client int
		class  byte
		more   bool
		sent   int // packets sent by then
	}{
		{0, 0, true, 0},
		{0, 0, true, 0},
		{0, 2, true, 2}, // another class
		{1, 2, true, 3}, // another client
		{1, 2, false, 5},
		{1, 2, false, 6},
	} {
		down := ip(web, c.clients[s.client].welcome.Addrs[0].Addr(), "")
		c.in.Reset()
		c.in.Hints.Class, c.in.Hints.More = s.class, s.more
		copy(c.in.Alloc(len(down)), down)
		before := c.socket.packets
		require.NoError(t, c.hub.sealBurst(c.in, out, time.Now()))
		sent += c.socket.packets - before
		require.Equal(t, s.sent, sent, "%+v", s)
	}
	require.Contains(t, c.hub.count.Drops.String(), "none")
}

// Packets for a client are padded within what its path carries, which is to be said
// first.
func TestPaddingFollowsThePath(t *testing.T) {
	c := gather(t, 1, 64, func(cfg *Config) { cfg.MTU = 1200 })
	c.socket.keep = true
	to := c.clients[0].welcome.Addrs[0].Addr()
	down := func(size int) int {
		p := ip(web, to, string(make([]byte, size-20)))
		c.in.Reset()
		copy(c.in.Alloc(len(p)), p)
		require.NoError(t, c.hub.sealBurst(c.in, c.hub.newSealer(c.queue), time.Now()))
		return len(c.socket.last) - secure.Overhead
	}
	padded := func() []int { return []int{down(100), down(1195), down(1300), down(1417)} }
	require.Equal(t, []int{112, 1200, 1300, 1417}, padded())
	session := Session(c.hub.directory.at(to))
	session.SetMTU(1400)
	require.Equal(t, []int{112, 1200, 1312, 1417}, padded())
	session.SetMTU(65535)
	require.Equal(t, []int{112, 1200, 1312, 1424}, padded())
	session.SetMTU(0)
	require.Equal(t, []int{100, 1195, 1300, 1417}, padded())
}

// send lets the hub send a burst, to one client after another.
func (c *crowd) send(t testing.TB, out *sealer, n int, next *int) {
	c.in.Reset()
	for range n {
		client := c.clients[*next%len(c.clients)]
		*next++
		p := c.in.Alloc(len(client.packet))
		copy(p, client.packet)
		copy(p[12:], client.packet[16:20])
		copy(p[16:], client.packet[12:16])
	}
	if err := c.hub.sealBurst(c.in, out, time.Now()); err != nil {
		t.Fatal(err)
	}
}

var crowds = []int{1, 10, 100, 1000, 10000}

// The cost of a packet to a client does not depend on how many clients are connected. It
// depends only on how many are busy at the same time, once these do not fit into the
// processor's caches. In the worst case each packet goes to another client.
func BenchmarkDown(b *testing.B) {
	for _, clients := range crowds {
		for _, busy := range []int{1, clients} {
			b.Run(fmt.Sprintf("clients=%d/busy=%d", clients, busy), func(b *testing.B) {
				c := gather(b, clients, 64, nil)
				c.clients = c.clients[:busy]
				out, next := c.hub.newSealer(c.queue), 0
				b.ReportAllocs()
				for b.Loop() {
					c.send(b, out, 1, &next)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			})
			if clients == 1 {
				break
			}
		}
	}
}

// The time to find the client of a packet, in each direction.
func BenchmarkLookup(b *testing.B) {
	for _, clients := range []int{1, 100, 10000} {
		c := gather(b, clients, 64, nil)
		b.Run(fmt.Sprintf("index/clients=%d", clients), func(b *testing.B) {
			index := c.clients[clients/2].remote
			m := binary.LittleEndian.AppendUint32([]byte{4, 0, 0, 0}, index)
			m = append(m, make([]byte, 24)...)
			burst := link.NewBurst()
			copy(burst.Alloc(len(m)), m)
			for b.Loop() {
				c.queue.opener.Open(burst, time.Now()) // it fails to decrypt
			}
		})
		b.Run(fmt.Sprintf("address/clients=%d", clients), func(b *testing.B) {
			addr := c.clients[clients/2].welcome.Addrs[0].Addr()
			for b.Loop() {
				if c.hub.directory.at(addr) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// The cost of a packet from a client.
func BenchmarkUp(b *testing.B) {
	for _, clients := range crowds {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			c := gather(b, clients, 64, nil)
			var sealed [10000][]byte
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i%len(sealed) == 0 {
					b.StopTimer()
					for j := range sealed {
						client := c.clients[j%clients]
						sealed[j] = client.seal(sealed[j][:0], client.packet)
					}
					b.StartTimer()
				}
				c.receive(b, c.clients[i%clients].addr, sealed[i%len(sealed)])
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// The cost of an initiation for the server: of a good one with all that follows, of a copy,
// and of one that does not authenticate.
func BenchmarkInitiation(b *testing.B) {
	c := gather(b, 0, 64, func(cfg *Config) { cfg.MaxClients = 10000 })
	r := newRegistry()
	c.hub.cfg.Admission = r
	keys := make([]noise.PrivateKey, 1000)
	for i := range keys {
		keys[i] = r.add(Account{Name: fmt.Sprint("c", i)})
	}
	queue := make([]handshake, len(keys))
	b.Run("good", func(b *testing.B) {
		for i := range b.N {
			if i%len(queue) == 0 {
				b.StopTimer()
				for j := range queue {
					client := newRaw(j)
					m := client.initiation(b, keys[j], hello{Time: uint64(time.Now().UnixNano()), Instance: 1})
					queue[j] = handshake{via: c.queue, by: c.hub.entrances[0], len: len(m)}
					copy(queue[j].message[:], m)
				}
				b.StartTimer()
			}
			if c.hub.admit(&queue[i%len(queue)], time.Now()) == nil {
				b.Fatal("not answered: ", c.hub.drops)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
	})
	for name, change := range map[string]byte{"copy": 0, "forged": 1} {
		b.Run(name, func(b *testing.B) {
			k := queue[0]
			k.message[k.len-1] ^= change
			for b.Loop() {
				if c.hub.admit(&k, time.Now()) != nil {
					b.Fatal("answered")
				}
			}
		})
	}
}

// Whatever a client sends, it comes out whole and from its own address, or is
// counted, or is no packet at all.
func FuzzInside(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 0, 0})
	f.Add([]byte{0, 1, 2, 0, 1, 'x'})
	l := protocol.Login{User: "u", Password: "p"}.Append(nil)
	f.Add(append([]byte{0, protocol.KindLogin, byte(len(l)), byte(len(l) >> 8)}, l...))
	f.Add(ip(netip.MustParseAddr("10.8.0.2"), web, "own"))
	f.Add(ip(netip.MustParseAddr("fd00:8::2"), web6, "own"))
	f.Add(ip(web, web, "spoofed"))
	// A handshake takes most of the time, so a session serves until the client has
	// closed it, but not for so long that its keys are too old.
	var crowds [2]struct {
		*crowd
		begun time.Time
	}
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		if len(plaintext) > 60000 {
			return
		}
		c := &crowds[len(plaintext)%2]
		if c.crowd == nil || time.Since(c.begun) > time.Minute {
			c.crowd = gather(t, 1, 64, func(cfg *Config) { cfg.ClientToClient = len(plaintext)%2 == 0 })
			c.begun = time.Now()
		}
		client, before := c.clients[0], c.hub.drops.String()
		c.receive(t, client.addr, client.seal(nil, plaintext))
		dropped := c.hub.drops.String() != before
		if len(c.hub.Snapshot()) == 0 { // it said that it leaves
			defer func() { c.crowd = nil }()
		}
		switch {
		case c.in.Len() == 1:
			require.True(t, bytes.HasPrefix(plaintext, c.in.At(0)))
			src, _, ok := addresses(c.in.At(0))
			require.True(t, ok)
			require.Contains(t, []netip.Addr{client.welcome.Addrs[0].Addr(), client.welcome.Addrs[1].Addr()}, src)
			require.False(t, dropped)
		case len(plaintext) == 0:
			require.False(t, dropped)
		case plaintext[0] != 0:
			require.True(t, dropped)
		}
	})
}

// Whatever a stranger sends gets no answer and changes nothing.
func FuzzStranger(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add([]byte{4, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add(append([]byte{1, 0, 0, 0}, make([]byte, 117)...), false)
	f.Add(append([]byte{4, 0, 0, 0}, make([]byte, 28)...), true)
	c := gather(f, 1, 64, nil)
	f.Fuzz(func(t *testing.T, m []byte, known bool) {
		if len(m) > 60000 {
			return
		}
		m = append([]byte(nil), m...)
		if known && len(m) >= 8 { // an index that exists
			binary.LittleEndian.PutUint32(m[4:], c.clients[0].remote)
		}
		sent := c.socket.packets
		c.receive(t, netip.MustParseAddrPort("198.51.100.66:6"), m)
		for len(c.hub.handshakes) > 0 {
			k := <-c.hub.handshakes
			require.Nil(t, c.hub.admit(&k, time.Now()))
		}
		require.Equal(t, sent, c.socket.packets)
		require.Zero(t, c.in.Len())
		require.Len(t, c.hub.Snapshot(), 1)
		require.Equal(t, c.clients[0].addr, c.hub.Snapshot()[0].Endpoint)
	})
}

// The time to look at all clients, which is done twice a second.
func BenchmarkClock(b *testing.B) {
	c := gather(b, 10000, 64, func(cfg *Config) { cfg.Idle = time.Hour })
	var all []*client
	for b.Loop() {
		now := time.Now()
		all = c.hub.directory.all(all[:0])
		for _, cl := range all {
			c.hub.tick(cl, now)
		}
		c.hub.directory.forget(now)
	}
}
