package secure

import (
	"bytes"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// twoKeypairs returns the two sides of one pair of keys.
func twoKeypairs(t testing.TB, cfg Config) (client, server *keypair) {
	t.Helper()
	ours, err := cfg.complete(true)
	require.NoError(t, err)
	theirs, err := cfg.complete(false)
	require.NoError(t, err)
	now := time.Now()
	c := newClient(ours, NewTable(1), nobody{}, now)
	r := &Responder{theirs}
	p := r.NewPeer(NewTable(1), nobody{}, slog.Default())
	m, err := c.initiator.initiate(c.table.reserve(c), now)
	require.NoError(t, err)
	q, ok := r.Read(m)
	require.True(t, ok)
	m, err = q.Accept(p, nil, now)
	require.NoError(t, err)
	answered, ok := parseResponse(m)
	require.True(t, ok)
	client, ok = c.initiator.finish(c.initiator.reserved, answered, now)
	require.True(t, ok)
	return client, p.keys.Load().next
}

// nobody owns peers, and does nothing for them.
type nobody struct{}

func (nobody) Wake(time.Time)            {}
func (nobody) Moved(_, _ netip.AddrPort) {}

// openCopy opens a copy of m, so that m stays as it was.
func openCopy(s *keypair, m []byte) (plaintext []byte, ok bool) {
	d, ok := parseData(bytes.Clone(m))
	if !ok {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	plaintext, why, ok := s.open(d)
	if !ok {
		s.peer.cfg.Drops.Add(why)
	}
	return plaintext, ok
}

func TestSessionSuites(t *testing.T) {
	for name, suite := range map[string]noise.Suite{"AES": noise.AESGCMSHA256, "ChaCha": noise.ChaChaPolyBLAKE2s} {
		t.Run(name, func(t *testing.T) {
			cfg := config(1)
			cfg.Handshake.Suite = suite
			client, server := twoKeypairs(t, cfg)
			for n := range 1500 {
				plaintext := bytes.Repeat([]byte{byte(n)}, n)
				m, ok := client.seal([]byte("kept"), plaintext, 0)
				require.True(t, ok)
				require.Equal(t, "kept", string(m[:4]))
				require.Len(t, m[4:], n+Overhead)
				got, ok := openCopy(server, m[4:])
				require.True(t, ok)
				require.Equal(t, plaintext, append([]byte{}, got...))

				m, ok = server.seal(nil, plaintext, 0)
				require.True(t, ok)
				got, ok = openCopy(client, m)
				require.True(t, ok)
				require.Equal(t, plaintext, append([]byte{}, got...))
			}
		})
	}
}

// A message is appended to what is in dst already. That is no part of it, and stays.
func TestSealAppends(t *testing.T) {
	client, server := twoKeypairs(t, config(1))
	var messages []byte
	plaintext := bytes.Repeat([]byte{0x45}, 40)
	for n, length := range []int{0, 48, 40} {
		before := bytes.Clone(messages)
		var ok bool
		messages, ok = client.seal(messages, plaintext, length)
		require.True(t, ok)
		require.True(t, bytes.Equal(before, messages[:len(before)]), "what was in dst has changed")
		m := messages[len(before):]
		require.Len(t, m, max(len(plaintext), length)+Overhead)
		require.Equal(t, appendDataHeader(nil, client.remote, uint64(n)), m[:dataHeader])
		got, ok := openCopy(server, m)
		require.True(t, ok, "the message doesn't open without what stands before it")
		require.Equal(t, plaintext, got[:len(plaintext)])
	}
}

// Every single-bit change of a sealed packet is refused, and every truncation
// and extension; the packet as it was sealed still opens after all that.
func TestEveryChangeIsRefused(t *testing.T) {
	for _, size := range []int{0, 1, 100, 1420} {
		cfg := config(1)
		client, server := twoKeypairs(t, cfg)
		plaintext := bytes.Repeat([]byte{0x45}, size)
		m, ok := client.seal(nil, plaintext, 0)
		require.True(t, ok)

		for i := range 8 * len(m) {
			changed := bytes.Clone(m)
			changed[i/8] ^= 1 << (i % 8)
			_, ok := openCopy(server, changed)
			require.False(t, ok, "size %d, bit %d", size, i)
		}
		for n := range len(m) {
			_, ok := openCopy(server, m[:n])
			require.False(t, ok, "size %d, cut to %d", size, n)
		}
		_, ok = openCopy(server, append(bytes.Clone(m), 0))
		require.False(t, ok)

		got, ok := openCopy(server, m)
		require.True(t, ok)
		require.Equal(t, plaintext, append([]byte{}, got...))
	}
}

// A packet does not open in the direction that it came from.
func TestReflectionIsRefused(t *testing.T) {
	client, _ := twoKeypairs(t, config(1))
	m, _ := client.seal(nil, []byte("x"), 0)
	_, ok := openCopy(client, m)
	require.False(t, ok)
}

func TestReplayAndReorder(t *testing.T) {
	cfg := config(1)
	client, server := twoKeypairs(t, cfg)
	var sealed [][]byte
	for range windowSize + 10 {
		m, _ := client.seal(nil, []byte("x"), 0)
		sealed = append(sealed, m)
	}
	opens := func(i int) bool {
		_, ok := openCopy(server, sealed[i])
		return ok
	}
	require.True(t, opens(5))
	require.False(t, opens(5), "a replay")
	require.EqualValues(t, 1, cfg.Drops.Count(Replayed))
	require.True(t, opens(0), "out of order, in the window")

	// A forged packet with a high counter does not move the window.
	forged := bytes.Clone(sealed[windowSize+9])
	forged[len(forged)-1] ^= 1
	_, ok := openCopy(server, forged)
	require.False(t, ok)
	require.EqualValues(t, 1, cfg.Drops.Count(BadTag))
	require.True(t, opens(1), "a forged packet has moved the window")

	require.True(t, opens(windowSize+9))
	require.True(t, opens(10), "overtaken by 8191: the last in the window")
	require.False(t, opens(9), "overtaken by 8192")
	require.EqualValues(t, 2, cfg.Drops.Count(Replayed))
	for i := 11; i < windowSize+9; i++ {
		require.True(t, opens(i))
	}
	for i := range sealed {
		require.False(t, opens(i))
	}
}

// At the limit a session stops, on both sides.
func TestCounterLimit(t *testing.T) {
	cfg := config(1)
	cfg.limits = defaultLimits
	cfg.limits.rejectPackets = 3
	client, _ := twoKeypairs(t, cfg)
	for range 3 {
		_, ok := client.seal(nil, nil, 0)
		require.True(t, ok)
	}
	for range 3 {
		m, ok := client.seal([]byte("kept"), nil, 0)
		require.False(t, ok)
		require.Equal(t, "kept", string(m))
	}

	careless, server := twoKeypairs(t, cfg)
	careless.limit = 10
	for i := range 5 {
		m, ok := careless.seal(nil, nil, 0)
		require.True(t, ok)
		_, ok = openCopy(server, m)
		require.Equal(t, i < 3, ok, "counter %d", i)
	}
	require.EqualValues(t, 2, cfg.Drops.Count(NoSession))
}

// Many goroutines seal up to the limit: each counter is used once, none is left out. There
// are so many that they get in each other's way even on a single processor.
func TestConcurrentSeal(t *testing.T) {
	const limit, workers = 200_000, 8
	cfg := config(1)
	cfg.limits = defaultLimits
	cfg.limits.rejectPackets = limit
	client, _ := twoKeypairs(t, cfg)

	var wg sync.WaitGroup
	var counters [workers][]uint64
	for i := range counters {
		wg.Go(func() {
			out := make([]byte, 0, 1+Overhead)
			for {
				m, ok := client.seal(out, []byte("x"), 0)
				if !ok {
					return
				}
				d, _ := parseData(m)
				counters[i] = append(counters[i], d.counter)
			}
		})
	}
	wg.Wait()
	used := make([]bool, limit)
	for _, list := range counters {
		for _, counter := range list {
			require.Less(t, counter, uint64(limit))
			if counter >= limit { // require would be slow here
				t.Fatalf("the counter %d is beyond the limit", counter)
			}
			if used[counter] {
				t.Fatalf("the counter %d was used twice", counter)
			}
			used[counter] = true
		}
	}
	require.NotContains(t, used, false, "a counter was left out")
}

// Several goroutines open the same packets at the same time: each opens once. The
// packets are long, so that opening takes a while.
func TestConcurrentOpen(t *testing.T) {
	const packets, workers = 1000, 4
	cfg := config(1)
	client, server := twoKeypairs(t, cfg)
	table := server.peer.table
	var opened atomic.Uint64
	for range packets {
		m, _ := client.seal(nil, make([]byte, 60000), 0)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range workers {
			b := link.NewBurst()
			copy(b.Alloc(len(m)), m)
			o := NewOpener(table, cfg.Drops)
			wg.Go(func() {
				<-start
				if o.Open(b, time.Now())[0].Peer != nil {
					opened.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
	}
	require.EqualValues(t, packets, opened.Load())
	require.EqualValues(t, (workers-1)*packets, cfg.Drops.Count(Replayed))
}

// The plaintext that is sealed is a multiple of 16 bytes long, within the MTU. The bytes
// after the packet in memory stay as they are.
func TestPadding(t *testing.T) {
	client, server := twoKeypairs(t, config(1))
	for n := range 100 {
		for _, mtu := range []int{0, 50, 60, 64, 1420} {
			memory := bytes.Repeat([]byte{7}, 200)
			plaintext := memory[:n]
			length := padded(n, mtu)
			switch {
			case n >= mtu:
				require.Equal(t, n, length)
			case length < mtu:
				require.Zero(t, length%16)
				require.Less(t, length-n, 16)
			default:
				require.Equal(t, mtu, length)
			}
			m, ok := client.seal(nil, plaintext, length)
			require.True(t, ok)
			require.Len(t, m, length+Overhead)
			got, ok := openCopy(server, m)
			require.True(t, ok)
			require.Equal(t, append(bytes.Clone(plaintext), make([]byte, length-n)...), append([]byte{}, got...))
			require.Equal(t, bytes.Repeat([]byte{7}, 200), memory)
		}
	}
}

func TestSessionAllocs(t *testing.T) {
	client, server := twoKeypairs(t, config(1))
	plaintext, out := make([]byte, 1410), make([]byte, 0, 1420+Overhead)
	allocs := testing.AllocsPerRun(1000, func() {
		m, _ := client.seal(out, plaintext, 1420)
		d, _ := parseData(m)
		if _, _, ok := server.open(d); !ok {
			t.Fatal("does not open")
		}
	})
	if !raceDetector {
		require.Zero(t, allocs)
	}
}
