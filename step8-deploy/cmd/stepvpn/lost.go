package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step7-auth/join"
)

// untilLost moves packets through a session over conn until it ends, its server does not
// answer any more, or ctx ends. It tells the server only when the program is stopped:
// otherwise the next session continues this one, and the server must not forget the
// connections of our users' programs.
func (n *node) untilLost(outer context.Context, session *join.Session, conn link.Link) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	var ending sync.Mutex
	end := func(why error) {
		ending.Lock()
		defer ending.Unlock()
		if n.asked.Err() == nil {
			conn.Close() // before the session is closed, which would tell the server
		}
		cancel(why)
	}
	defer cancel(nil)
	defer context.AfterFunc(outer, func() { end(context.Cause(outer)) })()
	go func() {
		for tick := time.Tick(lostInterval); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick:
				if session.Status().Lost {
					end(errLost)
				}
			}
		}
	}()
	err := n.carrier.carry(ctx, session, n.cfg.Offloads)
	ending.Lock() // if a closed conn has ended it, wait for the reason
	defer ending.Unlock()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return verdict(err)
}

// lostInterval is how often to check whether a session's server still answers.
const lostInterval = time.Second

var errLost = errors.New("the server does not answer any more")
