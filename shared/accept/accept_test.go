package accept

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An error of accept is waited out: not the end, and not a busy loop. After a
// connection the pauses are short again.
func TestPausesAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		calls, handled := 0, 0
		next := func() (net.Conn, error) {
			calls++
			switch passed := time.Since(start); {
			case passed < time.Minute, handled == 1 && passed < 2*time.Minute:
				return nil, syscall.EMFILE
			case handled < 2:
				return nil, nil
			}
			return nil, &net.OpError{Op: "accept", Err: net.ErrClosed}
		}
		require.NoError(t, Loop(nil, next, func(net.Conn) { handled++ }))
		require.Equal(t, 2, handled)
		// There are 8 calls until the pause is 1 s, then one each second; and all that
		// twice.
		require.InDelta(t, 2*68, calls, 4)
	})
}

func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The program ends between two tries.
		done := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- Loop(done, func() (net.Conn, error) { return nil, syscall.EMFILE }, nil)
		}()
		time.Sleep(time.Minute)
		require.Empty(t, ended)
		close(done)
		synctest.Wait()
		require.NoError(t, <-ended)

		// If the listener is closed on purpose, any error ends the loop without one.
		broken := os.NewSyscallError("accept4", syscall.EINVAL)
		require.NoError(t, Loop(done, func() (net.Conn, error) { return nil, broken }, nil))

		// An error that does not pass ends the loop, and is returned.
		err := Loop(nil, func() (net.Conn, error) { return nil, broken }, nil)
		require.True(t, errors.Is(err, syscall.EINVAL))
	})
}

func TestConnections(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- Loop(nil, l.AcceptTCP, func(c *net.TCPConn) { c.Close() })
	}()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err, "it was closed")
		require.NoError(t, c.Close())
	}
	require.NoError(t, l.Close())
	require.NoError(t, <-ended)
}
