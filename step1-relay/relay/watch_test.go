package relay

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestWaitIsOver(t *testing.T) {
	for _, text := range []string{"", "bytes that nobody came for"} {
		s := serve(t, &Relay{Wait: 20 * time.Millisecond})
		a := s.dial(t)
		if text != "" {
			send(t, a, text)
		}
		expectEnd(t, a, "relay: no partner came within 20ms\n")
	}
}

// Bytes that were sent while waiting are for the partner, in order, whether
// more follow or not.
func TestBytesSentWhileWaiting(t *testing.T) {
	s := serve(t, &Relay{})
	a := s.dial(t)
	send(t, a, "early, ")
	waitForArrival(t, a)
	b := s.dial(t)
	expect(t, b, "early, ")
	send(t, a, "late")
	expect(t, b, "late")

	// Much more than a chunk, and finished before the partner comes.
	const size = 3 * ChunkSize
	c := s.dial(t)
	send(t, c, strings.Repeat("x", size))
	require.NoError(t, c.CloseWrite())
	waitForArrival(t, c)
	d := s.dial(t)
	expectEnd(t, d, strings.Repeat("x", size))
	send(t, d, "got it all")
	require.NoError(t, d.CloseWrite())
	expectEnd(t, c, "got it all")
}

// If a client leaves while it waits, the relay notices at once, and does not join it with
// the next one.
func TestLeaveWhileWaiting(t *testing.T) {
	leave := map[string]func(t *testing.T, a *net.TCPConn){
		"close": func(t *testing.T, a *net.TCPConn) { a.Close() },
		"reset": func(t *testing.T, a *net.TCPConn) { breakOff(t, a) },
		"reset after bytes": func(t *testing.T, a *net.TCPConn) {
			send(t, a, "never mind")
			waitForArrival(t, a)
			breakOff(t, a)
		},
		"reset after more bytes than fit": func(t *testing.T, a *net.TCPConn) {
			require.NoError(t, a.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
			_, err := a.Write(make([]byte, 64<<20))
			require.ErrorContains(t, err, "timeout") // as nobody reads
			breakOff(t, a)
		},
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &Relay{})
			a := s.dial(t)
			leave(t, a)
			b, c := s.dial(t), s.dial(t) // at once: the relay may not have looked yet
			send(t, b, "b")
			expect(t, c, "b")
			send(t, c, "c")
			expect(t, b, "c")
		})
	}
}

// A connection that leaves at the moment when the next comes is not joined with it. One processor makes sure that partner
// has taken the next before watch has looked at all.
func TestLeaveAtTheLastMoment(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r := &Relay{Wait: time.Hour}
	for range 20 {
		client, a := connect(t)
		_, next := connect(t)
		require.NoError(t, client.Close())
		waitUntil(t, "the relay's end has heard of it", func() bool { return check(a, leftWhileWaiting) != nil })
		arrivals := make(chan *net.TCPConn, 1)
		arrivals <- next
		b, err := r.partner(t.Context(), a, arrivals)
		require.ErrorIs(t, err, io.EOF, "a has left")
		require.Same(t, next, b)
	}
}

func TestStopWhileOneWaits(t *testing.T) {
	client, a := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	b, err := (&Relay{Wait: time.Hour}).partner(ctx, a, make(chan *net.TCPConn))
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, b)
	expectEnd(t, client, "")
	goleak.VerifyNone(t)
}

// connect returns both ends of a connection.
func connect(t *testing.T) (client, conn *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer l.Close()
	client, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	require.NoError(t, client.SetDeadline(time.Now().Add(limit)))
	conn, err = l.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return client, conn
}

// It is noticed before anybody else comes, too.
func TestLeavingIsNoticed(t *testing.T) {
	s := serve(t, &Relay{})
	a := s.dial(t)
	require.NoError(t, a.CloseWrite())
	expectEnd(t, a, "relay: you closed your side before a partner came, and sent nothing\n")

	b, conn := connect(t)
	send(t, b, "bytes")
	left := make(chan error, 1)
	go func() { left <- watch(conn, leftWhileWaiting) }()
	breakOff(t, b)
	select {
	case err := <-left:
		require.ErrorContains(t, err, "connection reset")
	case <-time.After(limit):
		t.Fatal("the reset behind the bytes is not seen")
	}
}

// watch takes nothing out of the connection.
func TestWatchTakesNothing(t *testing.T) {
	b, tcp := connect(t)
	require.NoError(t, check(tcp, leftWhileWaiting))
	left := make(chan error, 1)
	go func() { left <- watch(tcp, leftWhileWaiting) }()
	send(t, b, "one ")
	send(t, b, "two")
	require.NoError(t, b.CloseWrite())
	require.NoError(t, tcp.SetReadDeadline(time.Unix(0, 0)))
	require.ErrorContains(t, <-left, "timeout")
	require.NoError(t, tcp.SetReadDeadline(time.Time{}))
	got, err := io.ReadAll(tcp)
	require.NoError(t, err)
	require.Equal(t, "one two", string(got))
	require.NoError(t, check(tcp, wasReset))
	require.ErrorIs(t, check(tcp, leftWhileWaiting), io.EOF) // for it doesn't know that bytes were read
}
