package illustrated

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step6-dns/push"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
)

// This file runs the course's client and server with fixed keys, random numbers and time, and
// keeps what passes between them.

// The keys are conspicuous, so that nobody takes them for real ones.
var (
	psk     = counting(0x00)
	aliceS  = counting(0x20)
	serverS = counting(0x40)
	when    = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
)

func counting(from byte) (k [32]byte) {
	for i := range k {
		k[i] = from + byte(i)
	}
	return k
}

const mtu = 1500 - 20 - 8 - secure.Overhead

// random is what one side draws for a handshake, in this order.
type random struct {
	index [4]byte
	e     [32]byte
}

// runWith calls play with a pipe between a client and a server, at a fixed time and with fixed
// random numbers, and returns what alice and the server have written.
func runWith(t *testing.T, seed uint64, play func(t *testing.T, client, server link.Link)) (fromAlice, fromServer [][]byte, drawn [2]random) {
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(when))
		a, b := link.Pipe(16)
		client, hub := &tap{Link: a}, &tap{Link: b, from: alice.addr}
		play(t, client, hub)
		fromAlice, fromServer = client.wrote, hub.wrote
	})
	// The private keys stay inside the code: what the two sides have drawn, alice first, is drawn a second time.
	cryptotest.SetGlobalRandom(t, seed)
	for i := range drawn {
		rand.Read(drawn[i].index[:])
		rand.Read(drawn[i].e[:])
	}
	return fromAlice, fromServer, drawn
}

// A tap is a Link that keeps a copy of what is written.
type tap struct {
	link.Link
	from netip.AddrPort // where what is read comes from

	mu    sync.Mutex // guards wrote
	wrote [][]byte
}

func (l *tap) ReadBurst(b *link.Burst) error {
	err := l.Link.ReadBurst(b)
	b.Addr = l.from
	return err
}

func (l *tap) WriteBurst(b *link.Burst) error {
	l.mu.Lock()
	for i := range b.Len() {
		l.wrote = append(l.wrote, append([]byte(nil), b.At(i)...))
	}
	l.mu.Unlock()
	return l.Link.WriteBurst(b)
}

// send writes a packet to a Link.
func send(t *testing.T, l link.Link, packet []byte) {
	b := link.NewBurst()
	copy(b.Alloc(len(packet)), packet)
	require.NoError(t, l.WriteBurst(b))
	synctest.Wait()
}

// result puts a Run together, and checks that the random numbers are those that were used.
func result(t *testing.T, alice, server [][]byte, random [2]random, packet []byte) Run {
	require.GreaterOrEqual(t, len(alice), 3, "initiation, keepalive, ping")
	require.GreaterOrEqual(t, len(server), 2, "response, keepalive")
	require.Equal(t, random[0].index[:], alice[0][4:8], "alice draws an index and then a key")
	require.Equal(t, random[1].index[:], server[0][4:8], "and so does the server")
	return Run{
		Initiation: alice[0], FirstFromAlice: alice[1], Ping: alice[2],
		Response: server[0], FirstFromServer: server[1],
		Packet: packet,
		AliceE: random[0].e, ServerE: random[1].e,
		PSK: psk, AliceS: aliceS, ServerS: serverS,
	}
}

// runStep4 is the client and the server of step 4.
func runStep4(t *testing.T) Run {
	packet := ping(tunnelAlice, tunnelServer, when.Add(1271828*time.Microsecond))
	config := func(drops *link.Drops) secure.Config {
		return secure.Config{Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &psk}, Drops: drops, MTU: mtu}
	}
	a, s, random := runWith(t, 4, func(t *testing.T, client, server link.Link) {
		var clientDrops, serverDrops link.Drops
		listening, err := secure.Server(server, config(&serverDrops))
		require.NoError(t, err)
		arrived := make(chan []byte, 1)
		go func() {
			for b := link.NewBurst(); listening.ReadBurst(b) == nil; {
				arrived <- append([]byte(nil), b.At(0)...)
			}
		}()
		session, err := secure.Client(t.Context(), client, config(&clientDrops))
		require.NoError(t, err)
		go func() {
			for b := link.NewBurst(); session.ReadBurst(b) == nil; {
			}
		}()
		synctest.Wait()
		send(t, session, packet)
		require.Equal(t, packet, <-arrived)
		require.Equal(t, []string{"none", "none"}, []string{clientDrops.String(), serverDrops.String()})
		session.Close()
		listening.Close()
		synctest.Wait()
	})
	return result(t, a, s, random, packet)
}

// runStep8 is the client and the hub that step 8 has from step 7.
func runStep8(t *testing.T) Run {
	packet := ping(tunnelAlice, web, when.Add(1271828*time.Microsecond))
	addrs := []netip.Prefix{netip.PrefixFrom(tunnelServer, 24)}
	serverKey := noise.PrivateKey(serverS)
	settings, err := push.Settings{DNS: []netip.Addr{tunnelServer}}.Marshal()
	require.NoError(t, err)
	a, s, random := runWith(t, 8, func(t *testing.T, client, server link.Link) {
		var count tunnel.Counters
		h, err := hub.New(hub.Config{
			Handshake: identity.KeyHandshake(serverKey, nil),
			Addrs:     addrs, Settings: settings, MTU: mtu,
			Admission: onlyAlice{},
			Check:     cookie.NewServer(serverKey.Public(), &count.Drops).Check,
			Count:     &count,
		})
		require.NoError(t, err)
		device, tun := link.Pipe(16)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx, hub.Queue{Device: tun, Socket: server}) }()

		var drops link.Drops
		profile := identity.Profile{PrivateKey: noise.PrivateKey(aliceS), ServerKey: serverKey.Public()}
		session, err := join.Client(t.Context(), cookie.Client(client, profile.ServerKey, &drops), join.Config{
			Handshake: profile.Handshake(),
			Instance:  [8]byte{0xa1, 0x1c, 0xe0, 0x2a, 0x11, 0xce, 0x0b, 0x0b},
			MTU:       mtu, Drops: &drops,
		})
		require.NoError(t, err)
		go func() {
			for b := link.NewBurst(); session.ReadBurst(b) == nil; {
			}
		}()
		synctest.Wait()
		send(t, session, packet)
		b := link.NewBurst()
		require.NoError(t, device.ReadBurst(b))
		require.Equal(t, packet, b.At(0))
		require.Equal(t, []string{"none", "none"}, []string{drops.String(), count.Drops.String()})
		stop() // first: the pipe closes both of its ends
		require.NoError(t, <-done)
		session.Close()
	})
	return result(t, a, s, random, packet)
}

// onlyAlice is a registry with one client.
type onlyAlice struct{}

func (onlyAlice) Lookup(key noise.PublicKey) (hub.Account, bool) {
	return hub.Account{Name: "alice"}, key == noise.PrivateKey(aliceS).Public()
}
func (onlyAlice) Lease(noise.PublicKey, time.Time) ([]netip.Prefix, error) {
	return []netip.Prefix{netip.PrefixFrom(tunnelAlice, 24)}, nil
}
func (onlyAlice) Left([]hub.Gone) {}
func (onlyAlice) Login(context.Context, noise.PublicKey, hub.Source, string, string) error {
	return nil
}
