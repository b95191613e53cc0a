package stock_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keeper"
)

// confFor returns the settings of a stock client with a key, for our server.
func (v *vpn) confFor(t *testing.T, key noise.PrivateKey, addrs string) (file string) {
	t.Helper()
	cfg, err := config.LoadServer(v.path(settingsFile))
	require.NoError(t, err)
	server, err := keeper.WireGuardKey(cfg)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "stock.conf")
	text := interfaceOf(key, "Address = "+addrs) +
		peerOf(server.Public(), nil, fmt.Sprintf("AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = %v:%d\nPersistentKeepalive = 1", v.Server.V4, v.Port))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// Who may not come in hears nothing from the server, however often it asks, and the log says it
// once: a key that the registry does not know, and one without an address of its own. One that
// may come in is answered, so the search for answers finds them.
func TestRefusedInSilence(t *testing.T) {
	v := newVPN(t)
	allowed, unpinned := noise.GenerateKey(), noise.GenerateKey()
	v.add(t, "allowed", "-public-key", noise.FormatKey(allowed.Public()), "-addr", "10.8.0.9,fd00:8::9")
	v.add(t, "unpinned", "-public-key", noise.FormatKey(unpinned.Public()))
	server := v.serve(t)
	const addrs = "10.8.0.9/32, fd00:8::9/128"
	for _, c := range []struct {
		name, says string
		key        noise.PrivateKey
		at         *netlab.Host
	}{
		{"allowed", "", allowed, v.Bob},
		{"eve", "the server does not know this key", noise.GenerateKey(), v.Alice},
		{"unpinned", "no fixed address in the registry", unpinned, v.Alice},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers := v.Cafe.Capture(t, "br0", fmt.Sprintf("udp src port %d and dst %v", v.Port, c.at.V4))
			refused := v.report(t).Drops["refused"]
			p := v.stockClient(t, c.at, "wg0", v.confFor(t, c.key, addrs), nil)
			if c.says == "" {
				v.seenAs(t, c.at, v.Server.V4)
				require.NotEmpty(t, answers.Stop())
			} else {
				netlab.Eventually(t, limit, "it is refused twice", func() bool { return v.report(t).Drops["refused"] >= refused+2 })
				require.Empty(t, answers.Stop())
				require.Equal(t, 1, strings.Count(server.Log(), c.says), server.Log())
			}
			p.p.Kill()
			p.p.Wait(t)
		})
	}
}

// A client's packet with an address that is not its own goes nowhere; and with the server's
// check nobody else gets its answer.
func TestSourceOfStockClientIsChecked(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	before := v.report(t).Drops["spoofed"]
	strangers := v.Web.Capture(t, "eth0", "icmp")
	v.Bob.Run(t, "ping", "-c", "2", "-W", "5", "-I", bob.v4().String(), v.Web.V4.String())
	v.Bob.Run(t, "ip", "address", "add", "10.8.0.77/32", "dev", "wg0")
	_, err := v.Bob.Try("ping", "-c", "3", "-i", "0.3", "-W", "1", "-I", "10.8.0.77", v.Web.V4.String())
	require.Error(t, err)
	require.Len(t, strangers.Stop(), 4, "two pings and their answers")
	require.GreaterOrEqual(t, v.report(t).Drops["spoofed"], before+3)
}

// recorded returns the first initiation of a stock client, from a capture.
func recorded(t *testing.T, c *netlab.Capture) []byte {
	t.Helper()
	c.Stop()
	file, err := os.ReadFile(c.File)
	require.NoError(t, err)
	at := bytes.Index(file, []byte{1, 0, 0, 0})
	for at >= 0 && (at+148 > len(file) || !bytes.Equal(file[at-4:at-2], []byte{0, 156})) { // behind a UDP header of this length
		next := bytes.Index(file[at+1:], []byte{1, 0, 0, 0})
		require.GreaterOrEqual(t, next, 0, "there is no initiation in the capture")
		at += 1 + next
	}
	require.Positive(t, at)
	return bytes.Clone(file[at : at+148])
}

// An initiation that was answered is not answered again, also not by a server that was killed
// and started again. Only without its file of times is it answered, as the detector.
func TestReplayAfterKill(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	server := v.serve(t)
	capture := v.Cafe.Capture(t, "br0", fmt.Sprintf("udp dst port %d and udp[4:2] = 156", v.Port))
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	initiation := recorded(t, capture)
	bob.p.Kill()
	bob.p.Wait(t)

	// replay reports whether the server answers a copy within a second, and what it counts.
	replay := func() (answered bool) {
		t.Helper()
		var conn *net.UDPConn
		var err error
		v.Bob.Do(func() {
			conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(v.Server.V4, v.Port)))
		})
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write(initiation)
		require.NoError(t, err)
		conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, _ := conn.Read(make([]byte, 2000))
		return n > 0
	}
	again := func() {
		t.Helper()
		server.Kill()
		server.Wait(t)
		server = v.serve(t)
	}
	again()
	require.False(t, replay())
	require.EqualValues(t, 1, v.report(t).Drops["replayed"])
	_, there := v.peer(t, "phone")
	require.False(t, there)

	server.Kill()
	server.Wait(t)
	times := filepath.Join(v.dir, "worker", keeper.AskedName)
	require.NoError(t, os.Remove(times))
	server = v.serve(t)
	require.True(t, replay(), "the detector: without the file, it is answered")
	require.False(t, replay())
	_, there = v.peer(t, "phone")
	require.False(t, there, "that makes no session")
	again()
	require.False(t, replay())

	// The phone itself comes in again.
	v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
}

// initiations returns n messages whose only knowledge is the server's public key: the codes are
// right, and the rest is random.
func initiations(server noise.PublicKey, n int) [][]byte {
	var made collector
	signed := cookie.Client(link.Single(&made), server, new(link.Drops))
	b := link.NewBurst()
	for range n {
		b.Reset()
		m := b.Alloc(148 - cookie.Overhead)
		rand.Read(m)
		copy(m, []byte{1, 0, 0, 0})
		signed.WriteBurst(b)
	}
	return made.packets
}

// A collector keeps what is written to it.
type collector struct{ packets [][]byte }

func (c *collector) Write(p []byte) (int, error) {
	c.packets = append(c.packets, bytes.Clone(p))
	return len(p), nil
}

func (c *collector) Read([]byte) (int, error) { return 0, io.EOF }
func (c *collector) Close() error             { return nil }

// flood sends initiations, which only know the server's public key, from a host, until stop is
// called.
func (v *vpn) flood(t *testing.T, h *netlab.Host) (stop func()) {
	t.Helper()
	cfg, err := config.LoadServer(v.path(settingsFile))
	require.NoError(t, err)
	key, err := keeper.WireGuardKey(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	h.Do(func() {
		for range 2 {
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(v.Server.V4, v.Port)))
			require.NoError(t, err)
			messages := initiations(key.Public(), 2000)
			senders.Go(func() {
				defer conn.Close()
				for i := 0; ctx.Err() == nil; i++ {
					conn.Write(messages[i%len(messages)]) // an error means that the sending queue is full
					time.Sleep(200 * time.Microsecond)
				}
			})
		}
	})
	return func() { cancel(); senders.Wait() }
}

// While a flood of initiations keeps the server busy, a stock client still gets in: it is told a
// cookie, and proves with it that its address is its own. One that is in stays in.
func TestStockClientInAFlood(t *testing.T) {
	v := newVPN(t)
	first, second := v.phone(t, "first"), v.phone(t, "second")
	v.serve(t)
	v.stockClient(t, v.Bob, "wg0", first, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	stop := v.flood(t, v.Web)
	defer stop()
	netlab.Eventually(t, limit, "the server is under load", func() bool { return v.report(t).Drops["under-load"] > 100 })
	alice := v.stockClient(t, v.Alice, "wg0", second, nil)
	netlab.Eventually(t, 3*limit, "alice is told a cookie, and comes in", func() bool {
		v.seenAs(t, v.Alice, v.Server.V4)
		if strings.Contains(alice.p.Log(), "cookie") {
			return true
		}
		alice.set(t, alice.settings) // this time there were too few before it: it asks again
		return false
	})
	v.seenAs(t, v.Bob, v.Server.V4)
	require.Zero(t, v.report(t).Drops["bad-mac"], "the flood is no junk")
}
