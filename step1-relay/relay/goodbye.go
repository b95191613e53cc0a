package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	goodbyeTime = time.Second // how long a connection may take to read why it must go
	maxGoodbyes = 16          // at once; any more are closed without a word
)

// goodbye tells a connection in one line why it is closed, and closes it. It
// does so in the background, and takes over conn.
func (r *Relay) goodbye(ctx context.Context, conn *net.TCPConn, format string, args ...any) {
	if r.goodbyes.Add(1) > maxGoodbyes {
		r.goodbyes.Add(-1)
		conn.Close()
		return
	}
	r.running.Go(func() {
		defer r.goodbyes.Add(-1)
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()

		conn.SetDeadline(time.Now().Add(goodbyeTime))
		fmt.Fprintf(conn, "relay: "+format+"\n", args...)
		conn.CloseWrite()
		// Close with bytes unread sends a reset, which can overtake the line. So
		// read until the other end closes too.
		io.Copy(io.Discard, conn)
	})
}
