package privsep

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"stepvpn/shared/app"
)

// request is what is asked. The ID is for the answer.
type request struct {
	ID   uint32          `json:"id"`
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// answer is what comes back. With ID 0 it is an event: nobody has asked.
type answer struct {
	ID    uint32          `json:"id"`
	Event string          `json:"event,omitempty"`
	Error string          `json:"error,omitempty"`
	Hint  string          `json:"hint,omitempty"`
	With  json.RawMessage `json:"with,omitempty"`
}

// A Result is what a request has led to.
type Result struct {
	With any   // nil or what Ask gets
	FDs  []int // are closed once they are sent, unless Keep
	Keep bool
}

// A Handler carries out a request. parse reads what came with it.
type Handler func(parse func(v any) error) (Result, error)

// Serve carries out requests, a few at the same time, until the other end is closed, which
// is no error, and all are done. What is not understood ends it: the other end is not what
// it should be.
func Serve(c *Conn, handlers map[string]Handler) error {
	var working sync.WaitGroup
	defer working.Wait()
	defer c.Close()
	slots := make(chan struct{}, maxRequests)
	for {
		var r request
		fds, err := c.receive(&r)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a request is refused: %w", err)
		}
		if len(fds) > 0 {
			discard(fds)
			return errors.New("a request is refused: it brings descriptors, and nobody asked for any")
		}
		handle, ok := handlers[r.Do]
		if !ok {
			return fmt.Errorf("a request is refused: %.40q is not known", r.Do)
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			result, err := handle(func(v any) error { return strict(r.With, v) })
			respond(c, r.ID, result, err)
		})
	}
}

const (
	maxRequests = 8               // that are carried out at the same time
	patience    = 5 * time.Second // with who does not read what is sent
)

// respond sends what a request has led to.
func respond(c *Conn, id uint32, r Result, err error) {
	a := answer{ID: id}
	if err == nil {
		a.With, err = json.Marshal(r.With)
	} else {
		r.FDs = nil
	}
	if err != nil {
		a.Error, a.Hint, a.With = cmp.Or(err.Error(), "failed"), app.HintOf(err), nil
	}
	if c.send(a, r.FDs) != nil {
		c.Close() // it is gone, or does not listen
	}
	if !r.Keep {
		CloseAll(r.FDs)
	}
}

// Tell sends an event, of which the other end is told by its Asker. Whether that still
// listens is not known.
func (c *Conn) Tell(event string, with any) {
	if text, err := json.Marshal(with); err == nil {
		c.send(answer{Event: event, With: text}, nil)
	}
}
