package cookie

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// A door is a Link below a secure.Server that does with initiations what a
// server's reading loop does.
type door struct {
	link.Link
	from     netip.AddrPort // where all of it comes from
	check    *Server
	load     atomic.Bool
	dropping atomic.Bool // the network loses what goes to the client

	mu      sync.Mutex // guards all below
	arrived []time.Duration
	replies int
	start   time.Time
	out     *link.Burst
}

func (d *door) ReadBurst(b *link.Burst) error {
	if err := d.Link.ReadBurst(b); err != nil {
		return err
	}
	kept := 0
	for i := range b.Len() {
		m := b.At(i)
		if isType(m, typeInitiation) {
			if m = d.judge(m); m == nil {
				continue
			}
		}
		b.Set(kept, m)
		kept++
	}
	b.Truncate(kept)
	b.Addr = d.from
	return nil
}

func (d *door) judge(m []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arrived = append(d.arrived, time.Since(d.start))
	initiation, reply := d.check.Check(m, d.from, d.load.Load(), false, time.Now())
	if reply != nil && !d.dropping.Load() {
		d.replies++
		d.out.Reset()
		copy(d.out.Alloc(len(reply)), reply)
		d.Link.WriteBurst(d.out)
	}
	return initiation
}

// ends starts a server, and returns what a client needs to connect to it: its end
// of the link and a Config. It believes that the server has the public key known,
// or the right one.
func ends(t *testing.T, known *noise.PublicKey, payload []byte) (clientEnd link.Link, clientConfig secure.Config, d *door, drops *link.Drops) {
	serverKey, clientKey := noise.GenerateKey(), noise.GenerateKey()
	public := serverKey.Public()
	if known == nil {
		known = &public
	}
	a, z := link.Pipe(16)
	received, drops := new(link.Drops), new(link.Drops)
	d = &door{Link: z, from: alice, check: NewServer(public, drops), start: time.Now(), out: link.NewBurst()}
	server, err := secure.Server(d, secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &serverKey},
		Drops:     drops,
	})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := link.NewBurst()
		for server.ReadBurst(b) == nil {
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return Client(a, *known, received), secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &clientKey, PeerStatic: known},
		Payload:   payload,
		Drops:     received,
	}, d, drops
}

// connect connects a client, and keeps it reading for a while.
func connect(t *testing.T, end link.Link, cfg secure.Config, stay time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := secure.Client(ctx, end, cfg)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := link.NewBurst()
		for c.ReadBurst(b) == nil {
		}
	}()
	time.Sleep(stay)
	c.Close()
	<-done
	return nil
}

func TestSecureWithoutLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// With the longest payload, so that the longest initiation passes.
		end, cfg, d, drops := ends(t, nil, make([]byte, secure.MaxPayload))
		require.NoError(t, connect(t, end, cfg, 0))
		require.Len(t, d.arrived, 1)
		require.Zero(t, d.replies)
		require.Equal(t, "none", drops.String())
	})
}

// Under load, the second try of the client gets in. It is the retry that secure
// makes anyway, after about half a second.
func TestSecureUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, cfg, d, drops := ends(t, nil, nil)
		d.load.Store(true)
		require.NoError(t, connect(t, end, cfg, 10*time.Second))
		require.Len(t, d.arrived, 2)
		require.InDelta(t, 500*time.Millisecond, d.arrived[1], float64(100*time.Millisecond))
		require.Equal(t, 1, d.replies)
		require.Equal(t, "under-load 1", drops.String())
	})
}

// The load stays for an hour: each rekey (every two minutes) gets in, at its
// second try at the latest, while the server's secret changes.
func TestSecureRekeysUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, cfg, d, drops := ends(t, nil, nil)
		d.load.Store(true)
		require.NoError(t, connect(t, end, cfg, time.Hour))
		require.GreaterOrEqual(t, len(d.arrived), 2*30)
		require.LessOrEqual(t, len(d.arrived), 2*31)
		require.EqualValues(t, d.replies, drops.Count(UnderLoad))
		require.EqualValues(t, d.replies, len(d.arrived)/2)
		require.Equal(t, 0, int(drops.Count(secure.NoSession)), "the session never ended")
	})
}

func TestSecureWhenCookiesGetLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end, cfg, d, _ := ends(t, nil, nil)
		d.load.Store(true)
		d.dropping.Store(true)
		time.AfterFunc(2*time.Second, func() { d.dropping.Store(false) })
		require.NoError(t, connect(t, end, cfg, 0))
		require.Equal(t, 1, d.replies)
	})
}

// A client that has another key for the server gets no answer at all, under load or not.
func TestSecureWithAnotherServerKey(t *testing.T) {
	for _, load := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			wrong := noise.GenerateKey().Public()
			end, cfg, d, drops := ends(t, &wrong, nil)
			d.load.Store(load)
			require.ErrorContains(t, connect(t, end, cfg, 0), "no answer from the server after 6 tries")
			require.Zero(t, d.replies)
			require.Equal(t, "bad-mac 6", drops.String())
			require.Equal(t, "none", cfg.Drops.String())
		})
	}
}
