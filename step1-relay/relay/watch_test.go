package relay

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// Who leaves while waiting is noticed at once, and is not the next one's partner.
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

// It is noticed before anybody else comes, too.
func TestLeavingIsNoticed(t *testing.T) {
	s := serve(t, &Relay{})
	a := s.dial(t)
	require.NoError(t, a.CloseWrite())
	expectEnd(t, a, "relay: you closed your side before a partner came, and sent nothing\n")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	send(t, b, "bytes")
	left := make(chan error, 1)
	go func() { left <- watch(conn.(*net.TCPConn), leftWhileWaiting) }()
	breakOff(t, b.(*net.TCPConn))
	select {
	case err := <-left:
		require.ErrorContains(t, err, "connection reset")
	case <-time.After(limit):
		t.Fatal("the reset behind the bytes is not seen")
	}
}

// watch takes nothing out of the connection.
func TestWatchTakesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer b.Close()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	tcp := conn.(*net.TCPConn)

	require.NoError(t, check(tcp, leftWhileWaiting))
	left := make(chan error, 1)
	go func() { left <- watch(tcp, leftWhileWaiting) }()
	send(t, b, "one ")
	send(t, b, "two")
	require.NoError(t, b.(*net.TCPConn).CloseWrite())
	require.NoError(t, tcp.SetReadDeadline(time.Unix(0, 0)))
	require.ErrorContains(t, <-left, "timeout")
	require.NoError(t, tcp.SetReadDeadline(time.Time{}))
	got, err := io.ReadAll(tcp)
	require.NoError(t, err)
	require.Equal(t, "one two", string(got))
	require.NoError(t, check(tcp, wasReset))
	require.ErrorIs(t, check(tcp, leftWhileWaiting), io.EOF) // for it doesn't know that bytes were read
}
