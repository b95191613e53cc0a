package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// goodbye closes a connection that the relay does not join, and tells its client why
// before that, in one line. It does so in the background; the caller must not use conn any
// more.
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
		// Closing a socket with unread bytes sends a reset, which can overtake the
		// line. So read until the other end closes, too.
		io.Copy(io.Discard, conn)
	})
}

const (
	goodbyeTime = time.Second // how long a connection may take to read why it is closed
	maxGoodbyes = 16          // at once; further connections are closed without a message
)
