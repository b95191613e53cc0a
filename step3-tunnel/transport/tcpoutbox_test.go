package transport

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A peer that is slow, but takes what it is sent, is not cut off, however much waits for it.
func TestOutboxOfASlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		o := newOutbox(here)
		packet := make([]byte, 60000)
		put := 0
		for o.put(packet, outboxSize) {
			put += lengthSize + len(packet)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o.send()
		}()

		taken, begin := 0, time.Now()
		buf := make([]byte, streamBuffer)
		for taken < put {
			n, err := io.ReadAtLeast(there, buf, min(put-taken, len(buf)))
			require.NoErrorf(t, err, "cut off after %v and %d of %d bytes", time.Since(begin), taken, put)
			taken += n
			time.Sleep(tcpWriteTimeout / 2)
		}
		require.Greater(t, time.Since(begin), tcpWriteTimeout)

		// A peer that takes nothing is gone after a while.
		require.True(t, o.put(packet, outboxSize))
		begin = time.Now()
		<-ended
		require.Equal(t, tcpWriteTimeout, time.Since(begin))
	})
}
