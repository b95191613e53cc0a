package step7_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
)

// A tap is the lower end of a client that is never answered. It keeps the first
// message, an initiation.
type tap struct {
	message chan []byte
	closed  chan struct{}
	once    sync.Once
}

func (p *tap) ReadBurst(*link.Burst) error {
	<-p.closed
	return net.ErrClosed
}

func (p *tap) WriteBurst(b *link.Burst) error {
	select {
	case p.message <- append([]byte(nil), b.At(0)...):
	default:
	}
	return nil
}

func (p *tap) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// initiation is what the client of a profile sends first.
func initiation(t *testing.T, p identity.Profile) []byte {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	lower := &tap{message: make(chan []byte, 1), closed: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var drops link.Drops
		if s, err := join.Client(ctx, cookie.Client(lower, p.ServerKey, &drops), join.Config{Handshake: p.Handshake(), Drops: &drops, Tries: 1}); err == nil {
			s.Close()
		}
	}()
	m := <-lower.message
	stop()
	<-done
	return m
}

// sendFrom sends a datagram to the server's port from an address that need not be
// the host's own.
func sendFrom(fd int, from, to netip.AddrPort, payload []byte) error {
	p := make([]byte, 20+8, 20+8+len(payload))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in length and checksum
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload))) // and a UDP checksum of 0 is none
	return unix.Sendto(fd, append(p, payload...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}

// memory is what the process has in use, in bytes.
func memory(t *testing.T, p *netlab.Process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	require.NoError(t, err)
	n, err := strconv.Atoi(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindStringSubmatch(string(status))[1])
	require.NoError(t, err)
	return n << 10
}

// Somebody who knows the server's public key, or has recorded what others sent,
// sends 10,000 initiations from as many addresses. Alice's download goes on, bob
// comes in meanwhile, and the server's memory does not grow.
func TestHandshakeFlood(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t)
	pa := client(t, w.Alice, a)
	w.surfs(t, w.Alice)

	// The initiations are those of strangers, with a valid first code; recorded ones of alice;
	// and some with a wrong code.
	profile, err := identity.LoadProfile(a)
	require.NoError(t, err)
	var messages [][]byte
	for range 30 {
		messages = append(messages, initiation(t, *profile))
		stranger := *profile
		stranger.PrivateKey = noise.GenerateKey()
		messages = append(messages, initiation(t, stranger))
		forged := initiation(t, stranger)
		forged[len(forged)-cookie.Overhead]++
		messages = append(messages, forged)
	}

	before := memory(t, s)
	const bytes = 5_000_000
	want := w.Alice.Run(t, "curl", "-sS", "--max-time", "60", fmt.Sprintf("http://%v/file.sha256?bytes=%d", w.Web.V4, bytes))
	got := make(chan string, 1)
	var running sync.WaitGroup
	running.Go(func() {
		out, _ := w.Alice.Try("bash", "-c", fmt.Sprintf("curl -sS --max-time 240 'http://%v/file?bytes=%d' | sha256sum | cut -d' ' -f1", w.Web.V4, bytes))
		got <- out
	})

	var fd int
	w.Internet.Do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW) })
	require.NoError(t, err)
	defer unix.Close(fd)
	stop := make(chan struct{})
	sent := 0
	running.Go(func() {
		to := netip.AddrPortFrom(w.Server.V4, w.Port)
		for over := false; !over || sent < 10_000; sent++ {
			source := netip.AddrFrom4([4]byte{198, 18 + byte(sent>>16&1), byte(sent >> 8), byte(sent)}) // RFC 2544
			if err := sendFrom(fd, netip.AddrPortFrom(source, 1024+uint16(sent%60000)), to, messages[sent%len(messages)]); err != nil {
				t.Errorf("flooding: %v", err)
				return
			}
			if sent%100 == 0 { // the machine is for others, too
				pause := 5 * time.Millisecond // 20,000 a second at most
				if sent > 10_000 {
					pause *= 10
				}
				time.Sleep(pause)
			}
			select {
			case <-stop:
				over = true
			default:
			}
		}
	})
	counted(t, s, "bad-mac ") // the flood has arrived
	pb := client(t, w.Bob, b, "-tries", "20")
	w.surfs(t, w.Bob)
	counted(t, s, "under-load ")
	close(stop)
	running.Wait()
	require.Equal(t, want, <-got, "alice's download")
	grown := memory(t, s) - before
	t.Logf("%d initiations; the server's memory: %d KB before, %d KB more after; %s", sent, before>>10, grown>>10, s.Log()[strings.LastIndex(s.Log(), "dropped:"):])
	require.GreaterOrEqual(t, sent, 10_000)
	require.Less(t, grown, 64<<20)
	require.Less(t, strings.Count(s.Log(), "a client is refused"), sent/2, "not each one was worked on")
	interrupt(t, pa, pb, s)
}
