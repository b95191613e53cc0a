package privsep

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"stepvpn/shared/app"
)

// An Asker sends requests to the process at the other end of a Conn. Its methods are safe
// for concurrent use.
type Asker struct {
	conn   *Conn
	events func(event string, with json.RawMessage)
	gone   chan struct{} // closed with the Conn

	mu      sync.Mutex // guards all below
	last    uint32
	waiting map[uint32]chan reply
}

type reply struct {
	answer
	fds []int
}

// ErrGone is the error of requests when the other end is gone.
var ErrGone = errors.New("the privileged process is gone")

// NewAsker returns an Asker, which owns the Conn. It calls events for each event, from the
// one goroutine that also reads answers: so events must not call Ask.
func NewAsker(c *Conn, events func(event string, with json.RawMessage)) *Asker {
	a := &Asker{conn: c, events: events, gone: make(chan struct{}), waiting: make(map[uint32]chan reply)}
	go a.run()
	return a
}

// Gone is closed when the other end is gone.
func (a *Asker) Gone() <-chan struct{} { return a.gone }

// Close closes the Conn.
func (a *Asker) Close() error { return a.conn.Close() }

func (a *Asker) run() {
	defer close(a.gone)
	defer a.conn.Close()
	for {
		var r reply
		fds, err := a.conn.receive(&r.answer)
		if err != nil {
			return
		}
		if r.ID == 0 {
			CloseAll(fds)
			a.events(r.Event, r.With)
			continue
		}
		a.mu.Lock()
		ch := a.waiting[r.ID]
		delete(a.waiting, r.ID)
		a.mu.Unlock()
		if ch == nil {
			CloseAll(fds)
			continue
		}
		r.fds = fds
		ch <- r
	}
}

// Ask sends a request, with its argument, and waits for the answer, which it stores in
// result, unless that is nil. The caller must close the descriptors. The error is that of
// the handler at the other end, or wraps ErrGone.
func (a *Asker) Ask(do string, with, result any) (fds []int, err error) {
	r := request{Do: do}
	if r.With, err = json.Marshal(with); err != nil {
		return nil, err
	}
	ch := make(chan reply, 1)
	a.mu.Lock()
	a.last = max(a.last+1, 1)
	r.ID = a.last
	a.waiting[r.ID] = ch
	a.mu.Unlock()
	if err := a.conn.send(r, nil); err != nil {
		a.mu.Lock()
		delete(a.waiting, r.ID)
		a.mu.Unlock()
		return nil, fmt.Errorf("%w: %v", ErrGone, err)
	}
	select {
	case got := <-ch:
		return got.outcome(result)
	case <-a.gone:
		select {
		case got := <-ch: // the answer came just before the other end was gone
			return got.outcome(result)
		default:
			return nil, ErrGone
		}
	}
}

func (r reply) outcome(result any) ([]int, error) {
	switch {
	case r.Error != "" && r.Hint != "":
		return nil, app.Hint(errors.New(r.Error), "%s", r.Hint)
	case r.Error != "":
		return nil, errors.New(r.Error)
	case result == nil:
		return r.fds, nil
	}
	if err := json.Unmarshal(r.With, result); err != nil {
		CloseAll(r.fds)
		return nil, err
	}
	return r.fds, nil
}
