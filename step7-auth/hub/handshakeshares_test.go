package hub

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/join"
)

// A flood from all of an IPv6 /56, with valid cookies, each /64 of it at a rate that one
// client might have. Clients that are there get their next keys, in the /56 itself, too,
// and new ones get in from elsewhere.
func TestFloodFromANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 20
		w := serve(t, func(c *Config) {
			c.Check = cookie.NewServer(serverKey.Public(), &c.Count.Drops).Check
		})
		// connect connects a client, and reports false if that takes more than 10 s.
		connect := func(key noise.PrivateKey, at string) (*join.Session, bool) {
			cfg, begun := clientConfig(key), time.Now()
			cfg.Tries = 10
			lower := cookie.Client(w.Attach(netip.MustParseAddrPort(at), serverAddr), serverKey.Public(), cfg.Drops)
			s, err := join.Client(t.Context(), lower, cfg)
			if err != nil {
				return nil, false
			}
			go func() {
				for b := link.NewBurst(); s.ReadBurst(b) == nil; {
				}
			}()
			t.Cleanup(func() { s.Close() })
			return s, time.Since(begun) < 10*time.Second
		}
		var sessions []*join.Session
		for i := range each {
			at := fmt.Sprintf("[2001:db8:1:%x::1]:7", i) // of elsewhere...
			if i%2 == 0 {
				at = fmt.Sprintf("[2001:db8:f:%x::2]:7", i) // ...and of where the flood comes from
			}
			s, ok := connect(w.add(Account{Name: fmt.Sprint("old", i)}), at)
			require.True(t, ok)
			sessions = append(sessions, s)
		}
		time.Sleep(115 * time.Second) // new keys are due in 5 s

		begun := time.Now()
		stop, done := make(chan struct{}), make(chan struct{})
		stranger := noise.GenerateKey()
		go func() {
			defer close(done)
			var lowers []link.Link
			for i := range 256 {
				l := cookie.Client(w.Attach(netip.MustParseAddrPort(fmt.Sprintf("[2001:db8:f:%x::1]:7", i)), serverAddr), serverKey.Public(), new(link.Drops))
				lowers = append(lowers, l)
				go func() {
					for b := link.NewBurst(); l.ReadBurst(b) == nil; {
						b.Reset()
					}
				}()
				defer l.Close()
			}
			m := newRaw(1).initiation(t, stranger, hello{Time: 1, Instance: 1})
			for {
				for i, l := range lowers {
					write(t, l, m)
					if i%16 == 15 {
						time.Sleep(100 * time.Millisecond / 16)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		time.Sleep(5 * time.Second)
		require.Greater(t, w.count.Drops.Count(cookie.UnderLoad), uint64(100), "the detector")
		results := make(chan bool)
		for i := range each {
			key := w.add(Account{Name: fmt.Sprint("new", i)})
			time.Sleep(100 * time.Millisecond)
			go func() {
				_, ok := connect(key, fmt.Sprintf("[2001:db8:2:%x::1]:7", i))
				results <- ok
			}()
		}
		in := 0
		for range each {
			if <-results {
				in++
			}
		}
		time.Sleep(25*time.Second - time.Since(begun))
		lost := 0
		for _, s := range sessions {
			if c := w.hub.directory.at(s.Addrs[0].Addr()); c == nil || c.peer.Status().Since.Before(begun) {
				lost++
			}
		}
		close(stop)
		<-done
		t.Logf("%d of %d new clients are in within 10 s, %d of %d have got no new keys; %v", in, each, lost, each, &w.count.Drops)
		require.GreaterOrEqual(t, in, each-1)
		require.Zero(t, lost)
		w.stop()
	})
}
