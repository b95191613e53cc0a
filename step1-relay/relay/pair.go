package relay

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// This file runs a pair: bytes go both ways, an end is passed on (half-close), and if one side
// breaks, both are reset.

// A pair is two connections that are joined: A came first, then B.
type pair struct {
	id     int
	ab, ba direction
}

// A direction is one of the two ways through a pair.
type direction struct {
	name     string // "A->B" or "B->A"
	src, dst *net.TCPConn
	total    int64 // bytes so far; only the goroutine that pumps uses it
}

func newPair(id int, a, b *net.TCPConn) *pair {
	return &pair{id, direction{"A->B", a, b, 0}, direction{"B->A", b, a, 0}}
}

// pipe moves bytes both ways. It succeeds when both ends have finished sending. It
// fails when one of them breaks, or when ctx ends: then both connections are reset,
// so that no receiver takes half of a file for the whole.
func (r *Relay) pipe(ctx context.Context, p *pair) {
	a, b := p.ab.src, p.ba.src
	slog.Info("joined", "pair", p.id, "A", a.RemoteAddr(), "B", b.RemoteAddr())

	var once sync.Once
	var failure error
	end := func(err error) { // the first call decides how the pair ends
		once.Do(func() {
			failure = err
			if err != nil {
				a.SetLinger(0) // makes Close send a reset and discard unsent bytes
				b.SetLinger(0)
			}
			a.Close()
			b.Close()
		})
	}
	stop := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })

	var pumps, watches sync.WaitGroup
	for _, d := range []*direction{&p.ab, &p.ba} {
		pumps.Go(func() {
			if err := r.oneWay(p.id, d); err != nil {
				end(fmt.Errorf("%s: %w", d.name, err))
				return
			}
			// Nobody reads from this end any more, but it can still break: watch waits for
			// that. It always returns an error; if the pair has ended before, it is too late
			// to count.
			watches.Go(func() { end(watch(d.src, wasReset)) })
		})
	}
	pumps.Wait()
	end(nil)
	stop()
	watches.Wait()

	if failure != nil {
		slog.Info("broken off", "pair", p.id, "A->B", p.ab.total, "B->A", p.ba.total, "err", failure)
	} else {
		slog.Info("finished", "pair", p.id, "A->B", p.ab.total, "B->A", p.ba.total)
	}
}

// oneWay pumps until the source has finished sending, and passes on that end as well.
//
//exercise:1
func (r *Relay) oneWay(id int, d *direction) error {
	err := pump(d.dst, d.src, func(chunk []byte) {
		d.total += int64(len(chunk))
		dump := ""
		if r.Hex {
			dump = "\n" + hex.Dump(chunk)
		}
		r.Out.Printf("pair %-2d %s %5d bytes, total %d%s", id, d.name, len(chunk), d.total, dump)
	})
	if err != nil {
		return err
	}
	slog.Debug("has finished sending", "pair", id, "from", d.src.RemoteAddr(), "to", d.dst.RemoteAddr())
	return d.dst.CloseWrite() // half-close: the other direction goes on
}
