package secure

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// Several goroutines open what comes for the same peers, while these get new keys, are
// closed by either side, and roam. Each packet comes out of its own peer, once, and in
// the end no keypair is left behind.
func TestAllAtOnce(t *testing.T) {
	const peers, openers, during = 4, 3, time.Second
	now := time.Now()
	o, cfg := newSite(t)
	mail := make(chan []byte, 4096)
	var clients, others sync.WaitGroup
	var done atomic.Bool
	time.AfterFunc(during, func() { done.Store(true) })

	var list []*Peer
	for range peers {
		list = append(list, o.NewPeer(o.table, nobody{}, slog.Default()))
	}
	for i, p := range list {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for serial := 0; serial == 0 || !done.Load(); {
				c, m := ask(t, cfg, now)
				q, ok := o.Read(m)
				if !ok {
					t.Error("an initiation does not authenticate")
					return
				}
				answer, err := q.Accept(p, nil, time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				mail <- c.open(answer, serverAddr, now).Reply
				keys := Keys{keypair: c.keys.Load().next}
				for range 1 + r.IntN(200) {
					serial++
					m := keys.seal(ipPacket(fmt.Sprint(i, " ", serial)))
					mail <- m
					if r.IntN(20) == 0 {
						mail <- m
					}
				}
				switch r.IntN(12) {
				case 0:
					mail <- keys.seal(appendControl(nil, kindClose, nil))
				case 1:
					p.Close(Rejected{}, time.Now())
				}
			}
		})
		others.Go(func() {
			out := link.NewBurst()
			for !done.Load() {
				keys, _ := p.Sending(time.Now())
				out.Reset()
				keys.Seal(out, ipPacket("down"))
				p.Tick(time.Now())
				p.Status()
				p.SetMTU(1400)
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	var seen sync.Map
	var packets atomic.Uint64
	for n := range openers {
		others.Go(func() {
			opener, b := NewOpener(o.table, o.drops), link.NewBurst()
			for more := true; more; {
				b.Reset()
				b.Addr = netip.AddrPortFrom(aliceAddr.Addr(), uint16(1+n))
				for m := range mail {
					copy(b.Alloc(len(m)), m)
					if b.Len() == link.MaxBurst || len(mail) == 0 {
						break
					}
				}
				more = b.Len() > 0 // else mail is closed
				for _, in := range opener.Open(b, time.Now()) {
					if in.Kind != Packet {
						continue
					}
					packets.Add(1)
					text := string(in.Content[20:])
					if _, twice := seen.LoadOrStore(text, true); twice {
						t.Errorf("packet %q comes out twice", text)
					}
					var whose, serial int
					if fmt.Sscan(text, &whose, &serial); in.Peer != list[whose] {
						t.Errorf("packet %q comes out of another peer", text)
					}
				}
			}
		})
	}
	clients.Wait()
	close(mail)
	others.Wait()
	require.NotZero(t, packets.Load())
	require.LessOrEqual(t, o.table.Len(), 3*peers)
	for _, p := range list {
		p.Close(Rejected{}, time.Now())
	}
	require.Zero(t, o.table.Len())
}
