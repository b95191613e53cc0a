package step8_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
	"stepvpn/step7-auth/protocol"
	"stepvpn/step8-deploy/config"
)

// A thief has a client's file, but not its password.
type thief struct {
	t    *testing.T
	host *netlab.Host // the thief is not where the owner is
	to   netip.AddrPort
	keys noise.Config
	done sync.WaitGroup

	asked    atomic.Int32 // the server has answered a hello of his
	mistaken atomic.Int32 // the server has checked a password from him, or makes him wait
}

func (w *world) thief(t *testing.T, file string) *thief {
	c, err := config.LoadClient(file)
	require.NoError(t, err)
	p := identity.Profile{PrivateKey: noise.PrivateKey(c.PrivateKey), ServerKey: noise.PublicKey(c.ServerKey)}
	return &thief{t: t, host: w.Web, to: netip.AddrPortFrom(w.Server.V4, 5555), keys: p.Handshake()}
}

// lower is a connection of its own to the server.
func (f *thief) lower() link.Link {
	var conn *net.UDPConn
	var err error
	f.host.Do(func() { conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.to)) })
	if err != nil {
		panic(err)
	}
	return cookie.Client(link.Single(conn), *f.keys.PeerStatic, new(link.Drops))
}

// hellos asks the server every few milliseconds to be let in, each time with a time from says.
func (f *thief) hellos(ctx context.Context, every time.Duration, instance func() uint64, says func() uint64) {
	lower := f.lower()
	f.done.Go(func() {
		for b := link.NewBurst(); lower.ReadBurst(b) == nil; {
			f.asked.Add(1)
		}
	})
	f.done.Go(func() {
		defer lower.Close()
		b := link.NewBurst()
		for index := uint32(1); ctx.Err() == nil; index++ {
			c := f.keys
			c.Initiator, c.Prologue = true, []byte("stepvpn secure 3")
			h, err := noise.New(c)
			if err != nil {
				f.t.Error(err)
				return
			}
			m := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0}, index)
			m, err = h.WriteMessage(m, protocol.Hello{Instance: instance()}.Append(binary.LittleEndian.AppendUint64(nil, says())))
			if err != nil {
				f.t.Error(err)
				return
			}
			b.Reset()
			copy(b.Alloc(len(m)), m)
			lower.WriteBurst(b) // refused packets are lost
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	})
}

// guess tries wrong passwords, each as soon as it knows the result of the last one.
func (f *thief) guess(ctx context.Context) {
	f.done.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			s, err := join.Client(ctx, f.lower(), join.Config{Handshake: f.keys, User: "alice", Password: fmt.Sprint("wrong", n), Drops: new(link.Drops), Tries: 100})
			switch {
			case err == nil:
				f.t.Error("a wrong password is right")
				s.Close()
				return
			case strings.Contains(err.Error(), "password"):
				f.mistaken.Add(1)
			}
		}
	})
}

// A thief with a client's file but without its password neither disturbs its owner's session
// nor keeps the owner from connecting. (The detector: this test fails with the program as it
// was before each of these attacks was prevented.)
func TestThiefWithAClientsFile(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the thief's own clock
	w := newWorld(t)
	w.add(t, "alice", "login_file", "login")
	thief := w.thief(t, w.path("alice.toml"))
	require.NoError(t, os.WriteFile(w.path("login"), []byte("alice\nright\n"), 0o600))
	w.Server.Run(t, "bash", "-ec", fmt.Sprintf("printf 'right\\nright\\n' | %s clients passwd alice -registry %s", netlab.Program("stepvpn"), w.path("clients")))
	server := w.server(t)

	last := func() uint64 { return math.MaxUint64 }
	now := func() uint64 { return uint64(time.Now().UnixNano()) }
	one := func() uint64 { return 666 }
	times := func(ctx context.Context) { thief.hellos(ctx, time.Second, rand.Uint64, last) }
	hellos := func(ctx context.Context) {
		thief.hellos(ctx, 5*time.Millisecond, one, now)
		thief.hellos(ctx, 5*time.Millisecond, rand.Uint64, now)
	}
	guesses := func(ctx context.Context) {
		for range 4 {
			thief.guess(ctx)
		}
	}
	for _, attack := range []struct {
		name  string
		begin []func(context.Context)
	}{
		{"a time that nobody exceeds", []func(context.Context){times}},
		{"hellos without end", []func(context.Context){hellos}},
		{"wrong passwords", []func(context.Context){guesses}},
		{"all of it", []func(context.Context){times, hellos, guesses}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			since := w.report(t, w.Server, "server.sock").Peers[0].Since
			thief.asked.Store(0)
			thief.mistaken.Store(0)
			ctx, stop := context.WithCancel(t.Context())
			defer thief.done.Wait()
			defer stop()
			for _, begin := range attack.begin {
				begin(ctx)
			}

			// The owner's session goes on.
			const size = 3_000_000
			out := w.Alice.Run(t, "bash", "-c", fmt.Sprintf("set -o pipefail; curl -sS --limit-rate 1000k 'http://%v/file?bytes=%d' | sha256sum", w.Web.V4, size))
			require.Equal(t, site.Hash(size), strings.Fields(out)[0])
			netlab.Eventually(t, limit, "the server has heard the thief", func() bool { return thief.asked.Load()+thief.mistaken.Load() > 0 })
			require.Equal(t, since, w.report(t, w.Server, "server.sock").Peers[0].Since, "it is the same session: %s", server.Log())

			// The owner connects again.
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			client = w.start(t)
			netlab.Eventually(t, limit, "the owner is in", func() bool { return strings.Contains(client.Log(), "tunnel is up") })
			require.LessOrEqual(t, strings.Count(client.Log(), "client is waiting"), 1, "at the second try at the latest: %s", client.Log())
			w.seenAs(t, w.Server.V4.String())
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
		})
	}
}
