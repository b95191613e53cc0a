package hub

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
)

// A flood of initiations, good ones and forged ones, does not keep packets from
// passing, and fills nothing but one queue of fixed size.
func TestFlood(t *testing.T) {
	w := serve(t, nil)
	alice := w.connect(w.add(Account{Name: "alice"}))
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for n := range 2 {
		unknown := noise.GenerateKey()
		r := newRaw(n)
		good := r.initiation(t, unknown, hello{Time: 1, Instance: 1})
		flood.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				m := append([]byte(nil), good...)
				m[len(m)-1] ^= byte(i % 2)
				w.Inject(r.addr, serverAddr, m)
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	require.Eventually(t, func() bool { return w.count.Drops.Count(cookie.UnderLoad) > 1000 }, 60*time.Second, time.Millisecond)
	passed := 0
	for i := range 200 {
		p := ip(alice.v4(), web, fmt.Sprint(i))
		write(t, alice, p)
		write(t, w.device, ip(web, alice.v4(), fmt.Sprint(i)))
		require.Equal(t, p, w.read())
		require.Equal(t, ip(web, alice.v4(), fmt.Sprint(i)), alice.receive(t))
		passed++
	}
	require.Equal(t, 200, passed)
	close(stop)
	flood.Wait()
	require.Equal(t, []string{"alice"}, w.names())
	require.Equal(t, 1, w.hub.directory.size)
	require.Len(t, w.hub.directory.byKey, 1, "no memory is kept of a stranger")
}

// While initiations wait, Config.Check hears that the server is under load.
func TestUnderLoad(t *testing.T) {
	var loads []bool
	c := gather(t, 0, 64, func(cfg *Config) {
		cfg.Check = func(m []byte, _ netip.AddrPort, underLoad, _ bool, _ time.Time) ([]byte, []byte) {
			loads = append(loads, underLoad)
			if underLoad {
				return nil, []byte("cookie")
			}
			return m, nil
		}
	})
	client := newRaw(0)
	m := client.initiation(t, noise.GenerateKey(), hello{Time: 1, Instance: 1})
	now := time.Now()
	for range loadQueue + 1 {
		c.hub.queueHandshake(c.queue, m, client.addr, now)
	}
	require.NotContains(t, loads, true)
	require.Len(t, c.hub.handshakes, loadQueue+1)
	c.socket.keep = true
	c.hub.queueHandshake(c.queue, m, client.addr, now)
	require.True(t, loads[len(loads)-1])
	require.Equal(t, "cookie", string(c.socket.last))
	require.Len(t, c.hub.handshakes, loadQueue+1)
	for len(c.hub.handshakes) > 0 {
		<-c.hub.handshakes
	}
	c.hub.queueHandshake(c.queue, m, client.addr, now.Add(loadFor-1))
	require.True(t, loads[len(loads)-1], "for a while after")
	c.hub.queueHandshake(c.queue, m, client.addr, now.Add(loadFor))
	require.False(t, loads[len(loads)-1])
}

// A hub with several queues: each client's packets may come in by any of them,
// and in any order, while keys change.
func TestQueues(t *testing.T) {
	const queues, clients, packets = 3, 4, 300
	c := gather(t, clients, 64, nil)
	sealed := make([][][]byte, queues)
	for i := range clients * packets {
		client := c.clients[i%clients]
		sealed[i%queues] = append(sealed[i%queues], client.seal(nil, client.packet))
	}
	var done sync.WaitGroup
	var mu sync.Mutex
	arrived := 0
	for q := range queues {
		e := c.hub.newQueue(Queue{Device: &sink{}, Socket: &sink{}})
		across, out := c.hub.newSealer(e), c.hub.newSealer(e)
		done.Go(func() { // up
			b := link.NewBurst()
			for _, m := range sealed[q] {
				b.Reset()
				b.Addr = c.clients[0].addr
				copy(b.Alloc(len(m)), m)
				if err := c.hub.openBurst(e, b, across, time.Now()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				arrived += b.Len()
				mu.Unlock()
			}
		})
		done.Go(func() { // down
			b := link.NewBurst()
			for i := range packets {
				b.Reset()
				for j := range 5 {
					p := ip(web, c.clients[(i+j)%clients].welcome.Addrs[0].Addr(), "down")
					copy(b.Alloc(len(p)), p)
				}
				if err := c.hub.sealBurst(b, out, time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Go(func() {
		for range packets {
			for _, cl := range c.hub.directory.all(nil) {
				c.hub.tick(cl, time.Now())
			}
			c.hub.Snapshot()
		}
	})
	done.Wait()
	require.Equal(t, clients*packets, arrived)
	require.Equal(t, "none", c.hub.drops.String())
	require.EqualValues(t, queues*packets*5, c.hub.count.Sent.Packets())
}

// shared is a sink that shares its address with the other ones.
type shared struct{ *sink }

func (shared) Listener() any { return "udp" }

// A hub with sockets that reach different clients, say of UDP and TCP: whichever
// queue of the device a packet comes by, it leaves by the one that its client came
// to; and, when that has come by another, by that. An initiation is not enough: anybody
// can have carried it there.
func TestListeners(t *testing.T) {
	r := newRegistry()
	key := r.add(Account{Name: "alice"})
	c := gather(t, 0, 64, func(cfg *Config) { cfg.Admission = r })
	client := newRaw(0)
	c.connect(t, client, key, 64)
	c.queue.Socket = shared{c.socket}
	other, same := &sink{}, &sink{}
	tcp := c.hub.newQueue(Queue{Device: &sink{}, Socket: other})
	udp := c.hub.newQueue(Queue{Device: &sink{}, Socket: shared{same}})
	down := func(by *queue) {
		b := link.NewBurst()
		p := ip(web, client.welcome.Addrs[0].Addr(), "down")
		copy(b.Alloc(len(p)), p)
		require.NoError(t, c.hub.sealBurst(b, c.hub.newSealer(by), time.Now()))
	}
	before := c.socket.packets
	down(tcp)
	require.Equal(t, []int{before + 1, 0, 0}, []int{c.socket.packets, other.packets, same.packets})
	down(udp) // as good as the one that it came to
	require.Equal(t, []int{before + 1, 0, 1}, []int{c.socket.packets, other.packets, same.packets})

	time.Sleep(helloInterval)
	again, k := newRaw(0), handshake{via: tcp, by: c.hub.entrances[0], from: client.addr}
	k.len = copy(k.message[:], again.initiation(t, key, hello{Time: uint64(time.Now().UnixNano()), Instance: 1}))
	require.NotNil(t, c.hub.admit(&k, time.Now()))
	down(udp)
	require.Equal(t, []int{before + 1, 0, 2}, []int{c.socket.packets, other.packets, same.packets})

	b := link.NewBurst()
	b.Addr = client.addr
	m := client.seal(nil, client.packet)
	copy(b.Alloc(len(m)), m)
	require.NoError(t, c.hub.openBurst(tcp, b, c.hub.newSealer(tcp), time.Now()))
	down(udp)
	require.Equal(t, []int{before + 1, 1, 2}, []int{c.socket.packets, other.packets, same.packets})
}
