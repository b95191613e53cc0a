package step7_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
)

// A udp is a socket of a host, as a Link.
type udp struct{ *net.UDPConn }

// socket opens one that is bound to an address of the host, and sends to the server.
func socket(t *testing.T, h *netlab.Host, from netip.Addr, to netip.AddrPort) udp {
	t.Helper()
	var conn *net.UDPConn
	var err error
	h.Do(func() {
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
	})
	require.NoError(t, err)
	return udp{conn}
}

func (u udp) ReadBurst(b *link.Burst) error {
	b.Reset()
	n, err := u.Read(b.Free())
	if err == nil {
		b.Alloc(n)
	}
	return err
}

func (u udp) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		u.Write(b.At(i)) // what is refused is lost
	}
	return nil
}

// newcomer is in with a client's file when a packet may pass, or says why it is not.
func newcomer(t *testing.T, lower link.Link, file, password string, within time.Duration) (*join.Session, error) {
	t.Helper()
	p, err := identity.LoadProfile(file)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var drops link.Drops
	return join.Client(ctx, cookie.Client(lower, p.ServerKey, &drops), join.Config{
		Handshake: p.Handshake(), User: p.User, Password: password, Drops: &drops, Tries: 100,
	})
}

// Somebody has an IPv6 /56, and sends the server initiations from each of its 256
// networks, with valid cookies. New clients get in from elsewhere, and those that are
// there stay. (Package hub tests that these get new keys.)
func TestFloodFromANetwork(t *testing.T) {
	const each = 20
	w := newWorld(t)
	w.Cafe.Run(t, "bash", "-ec", "ip -6 route add 2001:db8:f:5600::/56 via 2001:db8:cafe::10")
	w.Internet.Run(t, "bash", "-ec", "ip -6 route add 2001:db8:f:5600::/56 via 2001:db8:1::2")
	w.Alice.Run(t, "bash", "-ec", "ip -6 route add local 2001:db8:f:5600::/56 dev lo; sysctl -qw net.ipv6.ip_nonlocal_bind=1")
	var old, late []string
	for i := range each {
		old, late = append(old, w.add(t, fmt.Sprint("old", i))), append(late, w.add(t, fmt.Sprint("new", i)))
	}
	s := w.server(t)
	to := netip.AddrPortFrom(w.Server.V6, 5555)
	for _, file := range old {
		session, err := newcomer(t, socket(t, w.Bob, w.Bob.V6, to), file, "", limit)
		require.NoError(t, err)
		defer session.Close()
	}

	profile, err := identity.LoadProfile(old[0])
	require.NoError(t, err)
	stranger := *profile
	stranger.PrivateKey = noise.GenerateKey()
	m := initiation(t, stranger)
	m = m[:len(m)-cookie.Overhead]
	var flood sync.WaitGroup
	stop := make(chan struct{})
	var lowers []link.Link
	for i := range 256 {
		u := socket(t, w.Alice, netip.MustParseAddr(fmt.Sprintf("2001:db8:f:56%02x::1", i)), to)
		l := cookie.Client(u, profile.ServerKey, new(link.Drops))
		lowers = append(lowers, l)
		flood.Go(func() {
			for b := link.NewBurst(); l.ReadBurst(b) == nil; {
			}
		})
	}
	flood.Go(func() {
		b := link.NewBurst()
		for i := uint32(0); ; i++ {
			b.Reset()
			copy(b.Alloc(len(m)), m)
			binary.LittleEndian.PutUint32(b.At(0)[4:], i) // answers to it are not needed
			lowers[i%256].WriteBurst(b)
			if i%64 == 63 {
				select {
				case <-stop:
					for _, l := range lowers {
						l.Close()
					}
					return
				case <-time.After(20 * time.Millisecond): // 3,200 a second at most
				}
			}
		}
	})
	counted(t, s, "under-load ") // the flood has arrived

	results := make(chan error)
	began := time.Now()
	for _, file := range late {
		lower := socket(t, w.Bob, w.Bob.V6, to)
		go func() {
			session, err := newcomer(t, lower, file, "", limit)
			if err == nil {
				defer session.Close()
			}
			results <- err
		}()
	}
	in, soon := 0, 0
	for range each {
		err := <-results
		if err != nil {
			t.Log(err)
			continue
		}
		in++
		if time.Since(began) < 10*time.Second { // of a machine with time for it
			soon++
		}
	}
	close(stop)
	flood.Wait()
	t.Logf("%d of %d new clients are in, %d within 10 s", in, each, soon)
	require.GreaterOrEqual(t, in, each-1)
	counted(t, s, fmt.Sprint(each, " clients")) // those that were there
	interrupt(t, s)
}
