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

// A request is what the other end asks for. The answer has the same ID.
type request struct {
	ID   uint32          `json:"id"`
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// An answer is the answer to the request with this ID, or, with ID 0, an event.
type answer struct {
	ID    uint32          `json:"id"`
	Event string          `json:"event,omitempty"`
	Error string          `json:"error,omitempty"`
	Hint  string          `json:"hint,omitempty"`
	With  json.RawMessage `json:"with,omitempty"`
}

// A Result is the successful outcome of a request.
type Result struct {
	With any   // what Ask stores in its result; may be nil
	FDs  []int // descriptors for the other end; closed once they are sent, unless Keep is set
	Keep bool
}

// A Handler carries out a request. parse parses the request's argument.
type Handler func(parse func(v any) error) (Result, error)

// Serve carries out requests, up to 8 at the same time. It returns when the other end is
// closed, which is no error, and all requests are done. A request that it does not understand
// ends it with an error: then an attacker may control the other end.
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
			return errors.New("a request is refused: it has descriptors, which are not allowed")
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
	maxRequests = 8               // requests that are carried out at the same time
	patience    = 5 * time.Second // how long sending may take if the other end does not read
)

// respond sends the outcome of a request.
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
		c.Close() // the other end is gone, or does not read
	}
	if !r.Keep {
		CloseAll(r.FDs)
	}
}

// Tell sends an event, which the other end's Asker passes to its function events. It does not
// report whether the event arrives.
func (c *Conn) Tell(event string, with any) {
	if text, err := json.Marshal(with); err == nil {
		c.send(answer{Event: event, With: text}, nil)
	}
}
