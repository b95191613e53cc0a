package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// While the reader reads nothing, the pump holds one chunk and no more. The
// ends here have no buffer of their own, and synctest.Wait returns when
// everybody is blocked, so that the count is exact.
func TestPumpHoldsOneChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender, src := net.Pipe()
		dst, reader := net.Pipe()
		for _, end := range []net.Conn{sender, src, dst, reader} {
			defer end.Close()
		}
		var sent atomic.Int64
		go func() {
			chunk := make([]byte, ChunkSize)
			for {
				if _, err := sender.Write(chunk); err != nil {
					return
				}
				sent.Add(1)
			}
		}()
		go pump(dst, src, func([]byte) {})

		for read := range int64(5) {
			synctest.Wait()
			require.Equal(t, 1+read, sent.Load(), "chunks sent, after %d were read", read)
			_, err := io.ReadFull(reader, make([]byte, ChunkSize))
			require.NoError(t, err)
		}
	})
}

// The same with sockets: the sender gets rid of what the kernel's four buffers
// and one chunk hold, and then has to wait, whatever it has to send.
func TestSlowReaderStopsSender(t *testing.T) {
	const size = 64 << 20
	small := func(fd int) { // for the listener, from which accepted sockets inherit
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 32<<10)
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32<<10)
	}
	s := serve(t, &Relay{}, small)
	a, b := s.join(t)
	for _, conn := range []*net.TCPConn{a, b} {
		require.NoError(t, conn.SetReadBuffer(32<<10))
		require.NoError(t, conn.SetWriteBuffer(32<<10))
	}
	// Linux doubles what is asked for, to have room for its own bookkeeping, and
	// lets a buffer go over by one segment, which on loopback is 64 KB.
	const bound = 4*(64<<10+64<<10) + ChunkSize

	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 4096)
		for sent.Load() < size {
			n, err := a.Write(buf)
			sent.Add(int64(n))
			if err != nil {
				done <- err
				return
			}
		}
		done <- a.CloseWrite()
	}()
	// It has stopped when bytes wait in its socket and none got in for 50 looks.
	last, same := int64(-1), 0
	waitUntil(t, "the sender has to wait", func() bool {
		now := sent.Load()
		require.LessOrEqual(t, now, int64(bound), "bytes sent while nobody reads")
		if same++; now != last || unsent(t, a) == 0 {
			last, same = now, 0
		}
		return same >= 50
	})
	got, err := io.Copy(io.Discard, b) // the reader is not slow any more
	require.NoError(t, err)
	require.EqualValues(t, size, got)
	require.NoError(t, <-done)
}

// However much goes through, the buffer of the direction is all that it allocates.
func TestPumpAllocatesItsBufferOnly(t *testing.T) {
	data := make([]byte, 100*ChunkSize)
	src := bytes.NewReader(data)
	chunks := 0
	show := func([]byte) { chunks++ }
	allocs := testing.AllocsPerRun(10, func() {
		src.Reset(data)
		// io.Discard would offer shortcuts; pump must not use any.
		if err := pump(io.Discard, src, show); err != nil {
			t.Fatal(err)
		}
	})
	require.Equal(t, 11*100, chunks)
	require.LessOrEqual(t, allocs, 1.0)
}

func TestPumpErrors(t *testing.T) {
	broken := errors.New("broken")
	var shown int
	show := func(chunk []byte) { shown += len(chunk) }

	// Bytes that come together with the error are still passed on.
	var dst bytes.Buffer
	src := iotest.DataErrReader(io.MultiReader(bytes.NewReader([]byte("last words")), iotest.ErrReader(broken)))
	require.ErrorIs(t, pump(&dst, src, show), broken)
	require.Equal(t, "last words", dst.String())
	require.Equal(t, 10, shown)

	r, w := io.Pipe()
	r.CloseWithError(broken)
	require.ErrorIs(t, pump(w, bytes.NewReader([]byte("x")), show), broken)
	require.Equal(t, 11, shown, "a chunk is shown before it is passed on, so also if that fails")
	require.NoError(t, pump(&dst, bytes.NewReader(nil), show))
}
