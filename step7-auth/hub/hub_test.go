package hub

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// Two clients at once: each has addresses of its own and gets its own packets.
func TestTwoClients(t *testing.T) {
	w := serve(t, nil)
	alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.2/16"), netip.MustParsePrefix("fd00:8::2/64")}, alice.Addrs)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.3/16"), netip.MustParsePrefix("fd00:8::3/64")}, bob.Addrs)
	require.Equal(t, "settings", string(alice.Settings))

	for _, m := range []*machine{alice, bob} {
		for _, p := range [][]byte{ip(m.v4(), web, "up"), ip(m.v6(), web6, "up")} {
			write(t, m, p)
			require.Equal(t, p, w.read())
		}
		for _, p := range [][]byte{ip(web, m.v4(), "down"), ip(web6, m.v6(), "down")} {
			write(t, w.device, p)
			require.Equal(t, p, m.receive(t))
		}
	}
	// A burst for both, and for nobody.
	write(t, w.device, ip(web, alice.v4(), "1"), ip(web, bob.v4(), "2"), ip(web, netip.MustParseAddr("10.8.0.9"), "3"), ip(web, alice.v4(), "4"))
	require.Equal(t, ip(web, alice.v4(), "1"), alice.receive(t))
	require.Equal(t, ip(web, alice.v4(), "4"), alice.receive(t))
	require.Equal(t, ip(web, bob.v4(), "2"), bob.receive(t))
	w.dropped(NoClient, 1)
	require.Equal(t, "no-client 1", w.count.Drops.String())
}

// A packet whose source is not the client's own goes nowhere.
func TestSpoofedSource(t *testing.T) {
	w := serve(t, nil)
	alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))
	for _, p := range [][]byte{
		ip(bob.v4(), web, "bob's"),
		ip(bob.v6(), web6, "bob's"),
		ip(web, web, "nobody's"),
		ip(tunnelNet[0].Addr(), web, "the server's"),
		ip(netip.IPv4Unspecified(), web, "none"),
		ip(tunnelNet[1].Addr(), web6, "the server's"),
		ip(netip.MustParseAddr("fe80::1"), web6, "link-local"),
		ip(netip.AddrFrom16(alice.v4().As16()), web6, "mapped"),
		ip(netip.MustParseAddr("::1"), web6, "loopback"),
		ip(netip.MustParseAddr("ff02::1"), web6, "to many"),
		ip(netip.MustParseAddr("224.0.0.1"), web, "to many"),
		with(ip(bob.v4(), web, "a later fragment"), 6, 0x20, 0x05),
		with(ip(bob.v6(), web6, "\x3b\x00\x00\x00\x00\x00\x00\x00"), 6, 0), // hop-by-hop options
	} {
		write(t, alice, p)
	}
	own := ip(alice.v4(), web, "own")
	write(t, alice, own)
	require.Equal(t, own, w.read(), "and it is the first that arrives")
	w.dropped(Spoofed, 13)
}

// Content that is not one whole packet goes nowhere either, whatever its sender. The bytes
// behind a packet are padding.
func TestMalformedInside(t *testing.T) {
	c := gather(t, 1, 64, nil)
	alice := c.clients[0]
	v4, v6 := alice.welcome.Addrs[0].Addr(), alice.welcome.Addrs[1].Addr()
	n := 0
	for _, p := range [][]byte{
		{0x45, 0, 0, 20},
		{0x60},
		with(ip(v4, web, "x"), 2, 0, 22),   // cut off
		with(ip(v4, web, "x"), 0, 0x4f),    // options that are not there
		with(ip(v4, web, "x"), 0, 0x44),    // half a header
		with(ip(v4, web, "x"), 2, 0, 19),   // shorter than its header
		with(ip(v6, web6, "x"), 4, 255, 9), // cut off
		with(ip(v6, web6, "x"), 0, 0x45),   // another version
	} {
		n++
		c.receive(t, alice.addr, alice.seal(nil, p))
		require.Zero(t, c.in.Len(), "%x", p)
		require.EqualValues(t, n, c.hub.drops.Count(link.Malformed), "%x", p)
	}
	c.receive(t, alice.addr, alice.seal(nil, append(ip(v4, web, "own"), 1, 2, 3)))
	require.Equal(t, 1, c.in.Len())
	require.Equal(t, ip(v4, web, "own"), c.in.At(0))
}

// with returns p with other bytes at a place.
func with(p []byte, at int, bytes ...byte) []byte {
	copy(p[at:], bytes)
	return p
}

// Packets for many receivers at once pass in neither direction.
func TestMulticast(t *testing.T) {
	w := serve(t, nil)
	alice := w.connect(w.add(Account{Name: "alice"}))
	n := 0
	for _, to := range []string{"224.0.0.251", "239.1.2.3", "255.255.255.255", "10.8.255.255", "ff02::1", "ff05::2"} {
		dst, src := netip.MustParseAddr(to), alice.v4()
		if dst.Is6() {
			src = alice.v6()
		}
		write(t, alice, ip(src, dst, "up"))
		write(t, w.device, ip(src, dst, "down"))
		n += 2
	}
	w.dropped(Multicast, n)
	write(t, alice, ip(alice.v4(), web, "one"))
	require.Equal(t, ip(alice.v4(), web, "one"), w.read())
}

func TestBroadcastAddresses(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.8.0.1/24": "[10.8.0.255]", "10.8.0.1/16": "[10.8.255.255]", "10.8.0.1/29": "[10.8.0.7]",
		"10.8.0.0/31": "[]", "10.8.0.1/32": "[]", "fd00:8::1/64": "[]",
	} {
		require.Equal(t, want, fmt.Sprint(broadcastsOf([]netip.Prefix{netip.MustParsePrefix(prefix)})), prefix)
	}
}

// One client's packets reach another only where that is allowed. The server
// itself can be reached in any case.
func TestClientToClient(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			w := serve(t, func(c *Config) { c.ClientToClient = allowed })
			alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))
			for _, p := range [][]byte{ip(alice.v4(), bob.v4(), "4"), ip(alice.v6(), bob.v6(), "6")} {
				write(t, alice, p)
				if allowed {
					require.Equal(t, p, bob.receive(t))
				}
			}
			nobody := netip.MustParseAddr("10.8.0.99")
			write(t, alice, ip(alice.v4(), nobody, "x"), ip(alice.v4(), alice.v4(), "x"))
			server := ip(alice.v4(), tunnelNet[0].Addr(), "x")
			write(t, alice, server)
			require.Equal(t, server, w.read(), "and nothing before it")
			if allowed {
				w.dropped(NoClient, 2)
			} else {
				w.dropped(ToClient, 4)
			}
		})
	}
}

// A mistake in a configuration is reported before anything is done.
func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"hub: Config needs Count and Admission":                                                             func(c *Config) { c.Admission = nil },
		"70000 clients: a server has room for 1 to 65536":                                                   func(c *Config) { c.MaxClients = 70000 },
		"-1 clients: a server has room for 1 to 65536":                                                      func(c *Config) { c.MaxClients = -1 },
		"noise: pattern IK needs Config.Static on this side":                                                func(c *Config) { c.Handshake.Static = nil },
		"the settings for the clients take 2000 bytes, but there is room for only 949":                      func(c *Config) { c.Settings = make([]byte, 2000) },
		"an idle time of 5s is too short: clients show that they are alive every 25s, so use at least 1m0s": func(c *Config) { c.Idle = 5 * time.Second },
	} {
		cfg := config(newRegistry())
		change(&cfg)
		_, err := New(cfg)
		require.EqualError(t, err, want)
	}
}

// An end that fails ends the hub, with its error.
func TestEndFails(t *testing.T) {
	w := serve(t, nil)
	cfg := config(w.registry)
	h, err := New(cfg)
	require.NoError(t, err)
	device, host := link.Pipe(1)
	socket, _ := link.Pipe(1)
	done := make(chan error)
	go func() { done <- h.Run(t.Context(), Queue{Device: device, Socket: socket}) }()
	host.Close()
	require.ErrorIs(t, <-done, net.ErrClosed)
	require.ErrorIs(t, socket.ReadBurst(link.NewBurst()), net.ErrClosed)
}

// A knocker is a socket that brings one initiation, and takes no answer.
type knocker struct {
	message []byte
	stuck   chan struct{} // an answer waits to be taken
	closed  chan struct{}
	close   func()
}

func (k *knocker) ReadBurst(b *link.Burst) error {
	if b.Reset(); k.message == nil {
		<-k.closed
		return net.ErrClosed
	}
	copy(b.Alloc(len(k.message)), k.message)
	k.message = nil
	return nil
}

func (k *knocker) WriteBurst(*link.Burst) error {
	close(k.stuck)
	<-k.closed
	return net.ErrClosed
}

func (k *knocker) Close() error {
	k.close()
	return nil
}

// A socket that takes nothing does not keep the hub from ending.
func TestStuckSocket(t *testing.T) {
	k := &knocker{stuck: make(chan struct{}), closed: make(chan struct{})}
	k.close = sync.OnceFunc(func() { close(k.closed) })
	k.message = newRaw(1).initiation(t, noise.GenerateKey(), hello{})
	h, err := New(config(newRegistry()))
	require.NoError(t, err)
	device, _ := link.Pipe(1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx, Queue{Device: device, Socket: k}) }()
	<-k.stuck
	stop()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		k.close()
		<-done
		require.Fail(t, "the hub goes on")
	}
}
