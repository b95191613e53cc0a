package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// Each Serve must end its own goroutines; see also serve.
func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelError) // quiet
	goleak.VerifyTestMain(m)
}

// limit is for what is going to happen in any case, on however slow a machine.
const limit = 30 * time.Second

// output collects lines from several goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// served is a relay that runs on loopback.
type served struct {
	*Relay
	addr string
	out  *output
	stop func() // ends it and waits until it has ended
}

// serve runs r until the test ends. Fields that are zero get a default.
func serve(t *testing.T, r *Relay, options ...func(fd int)) *served {
	t.Helper()
	out := new(output)
	r.Out = log.New(out, "", log.Ltime|log.Lmicroseconds)
	if r.Wait == 0 {
		r.Wait = time.Hour
	}
	if r.MaxPairs == 0 {
		r.MaxPairs = 16
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	for _, set := range options {
		raw, err := l.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { set(int(fd)) }))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(limit):
			t.Fatal("Serve doesn't end")
		}
	})
	t.Cleanup(stop)
	return &served{r, l.Addr().String(), out, stop}
}

// dial connects to the relay. Connections are accepted in the order of dial.
func (s *served) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
	return conn.(*net.TCPConn)
}

// join returns two connections that are joined, as a byte that went through
// shows.
func (s *served) join(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	a, b = s.dial(t), s.dial(t)
	send(t, a, "?")
	expect(t, b, "?")
	return a, b
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}

func expect(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// expectEnd reads until the end, which must be a clean one.
func expectEnd(t *testing.T, conn net.Conn, rest string) {
	t.Helper()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, rest, string(got))
}

// expectReset reads until the connection breaks, which a clean end is not.
func expectReset(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.ReadAll(conn)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// breakOff closes conn with a reset.
func breakOff(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	require.NoError(t, conn.SetLinger(0))
	require.NoError(t, conn.Close())
}

func TestBothWays(t *testing.T) {
	s := serve(t, &Relay{})
	a, b := s.dial(t), s.dial(t)
	send(t, a, "hello")
	expect(t, b, "hello")
	send(t, b, "hello yourself")
	expect(t, a, "hello yourself")
}

// Several pairs at once, random bytes both ways in random chunks: each end gets
// what its own partner sent, and the log adds up.
func TestRandomData(t *testing.T) {
	const pairs, size = 4, 300_000
	s := serve(t, &Relay{})
	var all sync.WaitGroup
	for i := range pairs {
		a, b := s.dial(t), s.dial(t)
		for dir, ends := range [2][2]*net.TCPConn{{a, b}, {b, a}} {
			rnd := rand.New(rand.NewPCG(uint64(i), uint64(dir)))
			data := make([]byte, size)
			for j := range data {
				data[j] = byte(rnd.Uint32())
			}
			all.Go(func() {
				for rest := data; len(rest) > 0; {
					n := min(1+rnd.IntN(2*ChunkSize), len(rest))
					if _, err := ends[0].Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				ends[0].CloseWrite()
			})
			all.Go(func() {
				got, err := io.ReadAll(ends[1])
				if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
					t.Errorf("pair %d, direction %d: %d of %d bytes, error %v", i, dir, len(got), size, err)
				}
			})
		}
	}
	all.Wait()
	s.stop()

	line := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6} pair (\d+) +(A->B|B->A) +(\d+) bytes, total (\d+)$`)
	totals := map[string]int{}
	for text := range strings.Lines(s.out.String()) {
		m := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		require.NotNil(t, m, "a line of another form: %q", text)
		var n, total int
		fmt.Sscan(m[3]+" "+m[4], &n, &total)
		require.LessOrEqual(t, n, ChunkSize)
		way := m[1] + m[2]
		totals[way] += n
		require.Equal(t, totals[way], total, "the running total of %s", way)
	}
	require.Len(t, totals, 2*pairs)
	for way, total := range totals {
		require.Equal(t, size, total, way)
	}
}

// The line of a chunk, to the letter.
func TestLine(t *testing.T) {
	s := serve(t, &Relay{})
	a, b := s.dial(t), s.dial(t)
	send(t, a, strings.Repeat("x", 1024))
	expect(t, b, strings.Repeat("x", 1024))
	send(t, b, "12345")
	expect(t, a, "12345")
	send(t, a, "1")
	expect(t, b, "1")
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{6} pair 1  A->B  1024 bytes, total 1024
\d\d:\d\d:\d\d\.\d{6} pair 1  B->A     5 bytes, total 5
\d\d:\d\d:\d\d\.\d{6} pair 1  A->B     1 bytes, total 1025
$`, s.out.String())
}

func TestHex(t *testing.T) {
	s := serve(t, &Relay{Hex: true})
	a, b := s.dial(t), s.dial(t)
	send(t, a, "a VPN is a relay\x00\xff")
	expect(t, b, "a VPN is a relay\x00\xff")
	require.Regexp(t, `^\S+ pair 1  A->B    18 bytes, total 18
00000000  61 20 56 50 4e 20 69 73  20 61 20 72 65 6c 61 79  \|a VPN is a relay\|
00000010  00 ff                                             \|\.\.\|
$`, s.out.String())
}

// Half-close: one end finishes sending and still receives.
func TestHalfClose(t *testing.T) {
	for _, firstDone := range []string{"A", "B"} {
		t.Run(firstDone+" finishes first", func(t *testing.T) {
			s := serve(t, &Relay{})
			one, other := s.dial(t), s.dial(t)
			if firstDone == "B" {
				one, other = other, one
			}
			send(t, one, "the question")
			require.NoError(t, one.CloseWrite())
			expectEnd(t, other, "the question") // it sees the end,
			send(t, other, "the answer")        // and can still answer
			expect(t, one, "the answer")
			require.NoError(t, other.CloseWrite())
			expectEnd(t, one, "")
		})
	}
}

// An end that breaks ends the pair on both sides, and not as if all was well.
func TestReset(t *testing.T) {
	t.Run("while both send", func(t *testing.T) {
		s := serve(t, &Relay{})
		a, b := s.join(t)
		breakOff(t, a)
		expectReset(t, b)
	})
	t.Run("after it has finished sending", func(t *testing.T) {
		s := serve(t, &Relay{})
		a, b := s.join(t)
		require.NoError(t, b.CloseWrite())
		expectEnd(t, a, "")
		breakOff(t, b)
		waitUntil(t, "the pair ends", func() bool { return s.pairs.Load() == 0 })
		_, err := a.Write([]byte("is there anybody?")) // a has read its EOF: only now can it learn more
		for err == nil {
			_, err = a.Write([]byte("?"))
		}
		require.True(t, isBroken(err), "%v", err)
	})
	t.Run("another pair goes on", func(t *testing.T) {
		s := serve(t, &Relay{})
		a, b := s.join(t)
		c, d := s.join(t)
		breakOff(t, b)
		expectReset(t, a)
		send(t, c, "still here")
		expect(t, d, "still here")
		send(t, d, "me too")
		expect(t, c, "me too")
	})
}

func TestMaxPairs(t *testing.T) {
	s := serve(t, &Relay{MaxPairs: 2})
	a, b := s.join(t)
	c, d := s.join(t)

	extra := s.dial(t)
	send(t, extra, "bytes that nobody wants")
	expectEnd(t, extra, "relay: all 2 pairs are taken, try again later\n")
	require.NoError(t, extra.CloseWrite())
	waitUntil(t, "the goodbye ends", func() bool { return s.goodbyes.Load() == 0 })
	require.NoError(t, check(extra, wasReset), "a reset could have overtaken the line")

	// The two that are there don't notice, and when one ends there is room again.
	send(t, a, "one")
	expect(t, b, "one")
	a.Close()
	b.Close()
	waitUntil(t, "the pair ends", func() bool { return s.pairs.Load() == 1 })
	e, f := s.join(t)
	send(t, f, "new")
	expect(t, e, "new")
	send(t, c, "two")
	expect(t, d, "two")
}

// More connections than the relay finds words for are closed all the same.
func TestGoodbyesAreBounded(t *testing.T) {
	s := serve(t, &Relay{MaxPairs: 1})
	s.join(t)
	told := 0
	for range 3 * maxGoodbyes {
		conn := s.dial(t) // stays open, so its goodbye takes until goodbyeTime
		got, err := io.ReadAll(conn)
		if len(got) > 0 {
			require.NoError(t, err)
			told++
		}
		require.LessOrEqual(t, s.goodbyes.Load(), int64(maxGoodbyes+1))
	}
	require.GreaterOrEqual(t, told, maxGoodbyes)
}

// When ctx ends, all connections do, and Serve returns: serve waits for that.
func TestStop(t *testing.T) {
	s := serve(t, &Relay{MaxPairs: 2})
	a, b := s.join(t)
	c, d := s.join(t)
	require.NoError(t, c.CloseWrite()) // half done
	expectEnd(t, d, "")
	refused := s.dial(t)
	expect(t, refused, "relay: all") // it is still being told
	s.stop()

	expectReset(t, a) // an EOF would say that the file is whole
	expectReset(t, b)
	expectReset(t, c)
	_, err := net.Dial("tcp", s.addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	goleak.VerifyNone(t)
}

// waitUntil polls.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(start), limit, "waited in vain: %s", what)
	}
}

// unsent returns how many bytes wait in the socket of conn until the other end's
// kernel has taken them.
func unsent(t *testing.T, conn *net.TCPConn) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }))
	require.NoError(t, err)
	return n
}

// waitForArrival waits until what conn has sent is in the other end's kernel.
func waitForArrival(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	waitUntil(t, "the bytes arrive", func() bool { return unsent(t, conn) == 0 })
}

func isBroken(err error) bool {
	return regexp.MustCompile("reset by peer|broken pipe").MatchString(err.Error())
}
