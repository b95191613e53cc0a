// Package relay joins TCP connections two by two: whatever one end of a pair
// sends comes out at the other end. The whole VPN is built on that idea. In later
// steps the ends are not two sockets, but bytes still go in at one end and come out
// at the other.
//
// Introduced in step 1.
package relay

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/accept"
)

// A Relay accepts connections and joins each with the one that comes after it.
// Set the exported fields, then call Serve once.
type Relay struct {
	Wait     time.Duration // how long a connection waits for its partner; over 0
	MaxPairs int           // how many pairs there may be at once; at least 1
	Out      *log.Logger   // gets one line per chunk that was read
	Hex      bool          // dump the bytes of each chunk below its line

	pairs    atomic.Int64   // how many pairs are joined now; each counts itself out
	goodbyes atomic.Int64   // how many connections are being told why they are closed
	running  sync.WaitGroup // the goroutines that Serve waits for at its end
}

// Serve relays until ctx ends. Then it closes l and every connection, waits
// until its goroutines are gone, and returns nil.
func (r *Relay) Serve(ctx context.Context, l *net.TCPListener) error {
	defer r.running.Wait()
	defer l.Close()

	arrivals := make(chan *net.TCPConn)
	r.running.Go(func() {
		err := accept.Loop(ctx.Done(), l.AcceptTCP, func(conn *net.TCPConn) {
			select {
			case arrivals <- conn:
			case <-ctx.Done():
				conn.Close()
			}
		})
		if err != nil {
			slog.Error("no more connections are accepted", "err", err)
		}
	})
	r.running.Go(func() { <-ctx.Done(); l.Close() })

	var a *net.TCPConn // waits for a partner; nil if no connection does
	for id := 0; ; {
		if a == nil {
			if a = r.first(ctx, arrivals); a == nil {
				return nil // ctx has ended
			}
		}
		b, err := r.partner(ctx, a, arrivals)
		if err != nil {
			r.dismiss(ctx, a, err)
			a = b // if not nil: b came at that very moment, and now waits in the place of a
			continue
		}
		id++
		p := newPair(id, a, b)
		r.pairs.Add(1)
		r.running.Go(func() {
			defer r.pairs.Add(-1)
			r.pipe(ctx, p)
		})
		a = nil
	}
}

// first returns the next connection that there is room for, or nil when ctx
// has ended.
func (r *Relay) first(ctx context.Context, arrivals <-chan *net.TCPConn) *net.TCPConn {
	for {
		select {
		case a := <-arrivals:
			if r.pairs.Load() < int64(r.MaxPairs) {
				return a
			}
			slog.Warn("refused: all pairs are taken", "from", a.RemoteAddr(), "max-pairs", r.MaxPairs)
			r.goodbye(ctx, a, "all %d pairs are taken, try again later", r.MaxPairs)
		case <-ctx.Done():
			return nil
		}
	}
}

// partner returns b, the connection to join with a. Its error says why a can't be
// joined: its client left, or it waited too long (os.ErrDeadlineExceeded), or ctx ended.
// Even then b may be non-nil: it arrived just when the client of a left.
//
//exercise:2
func (r *Relay) partner(ctx context.Context, a *net.TCPConn, arrivals <-chan *net.TCPConn) (b *net.TCPConn, err error) {
	slog.Info("waiting for a partner", "from", a.RemoteAddr())
	left := make(chan error, 1)
	a.SetReadDeadline(time.Now().Add(r.Wait))
	// watch blocks until the client of a has left, or the read deadline has passed, and
	// returns which of them, never nil. It takes no byte out of the connection.
	go func() { left <- watch(a, leftWhileWaiting) }()

	select {
	case b = <-arrivals:
		a.SetReadDeadline(time.Unix(0, 0)) // in the past: this ends watch
		err = <-left
		a.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The client may have left after watch looked last: check looks once more,
			// and returns nil if it is still there.
			err = check(a, leftWhileWaiting)
		}
		return b, err
	case err = <-left:
		return nil, err
	case <-ctx.Done():
		a.Close()
		<-left
		return nil, ctx.Err()
	}
}

// dismiss closes a, which err has kept from getting a partner, and says why.
func (r *Relay) dismiss(ctx context.Context, a *net.TCPConn, err error) {
	switch from := a.RemoteAddr(); {
	case ctx.Err() != nil:
		a.Close()
	case errors.Is(err, os.ErrDeadlineExceeded):
		slog.Info("no partner came", "from", from, "within", r.Wait)
		r.goodbye(ctx, a, "no partner came within %v", r.Wait)
	case errors.Is(err, io.EOF):
		slog.Info("left while waiting", "from", from)
		r.goodbye(ctx, a, "you closed your side before a partner came, and sent nothing")
	default:
		slog.Info("left while waiting", "from", from, "err", err)
		a.Close()
	}
}
