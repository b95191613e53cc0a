package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// An Event is one thing that has happened: a line of the answer to GET /v1/events.
type Event struct {
	ID   uint64    `json:"id,omitempty"` // counts up from 1 when the daemon starts
	Time time.Time `json:"time,omitzero"`
	// Event is what has happened: "connected", "disconnected" or "refused" to a client;
	// "added", "revoked", "expires", "renamed" or "password" for what somebody has changed
	// about one; "state" of the daemon; or "lost", the last line, for a reader that was too slow.
	Event string `json:"event"`

	Client    string         `json:"client,omitempty"`
	Addresses []netip.Addr   `json:"addresses,omitempty"` // in the tunnel
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`
	State     string         `json:"state,omitempty"` // a word, as in a status.Report
	Reason    string         `json:"reason,omitempty"`
	By        *Actor         `json:"by,omitempty"`      // who has made the change
	Detail    string         `json:"detail,omitempty"`  // of a change, such as the new name
	Omitted   uint64         `json:"omitted,omitempty"` // like this one there were so many more, of which nothing is told
}

// An Actor is a user who has changed something.
type Actor struct {
	UID  int    `json:"uid"`
	Name string `json:"name"`
}

const (
	keptEvents = 1024             // events that are kept for readers
	quietFor   = 15 * time.Second // after this time without an event, an empty line shows that the daemon is there
	writeIn    = 5 * time.Second  // how long a reader may take to read what is sent
)

// Events keeps what has happened lately, in a ring, for any number of readers. A reader that is
// too slow is cut off: writers never wait. The zero value is ready. Its methods are safe for
// concurrent use.
type Events struct {
	mu      sync.Mutex // guards all below
	last    uint64     // the ID of the latest event
	ring    [keptEvents]Event
	changed chan struct{} // closed at the next event; nil if nobody waits
}

// Add adds an event, now.
func (e *Events) Add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	event.ID, event.Time = e.last, time.Now().UTC().Truncate(time.Millisecond)
	e.ring[e.last%keptEvents] = event
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// after returns what came after the event with this ID, and whether there was more than is kept. If
// there is nothing, more is closed at the next event.
func (e *Events) after(id uint64) (list []Event, lost bool, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last-id > keptEvents {
		return nil, true, nil
	}
	for ; id < e.last; id++ {
		list = append(list, e.ring[(id+1)%keptEvents])
	}
	if len(list) == 0 {
		if e.changed == nil {
			e.changed = make(chan struct{})
		}
		more = e.changed
	}
	return list, false, more
}

// latest returns the ID of the latest event.
func (e *Events) latest() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

// Route is GET /v1/events: a line of JSON for each event from now on or, with ?after=ID, from that
// event on.
func (e *Events) Route() Route { return Route{Pattern: "GET /events", Stream: e.stream} }

func (e *Events) stream(w http.ResponseWriter, q *http.Request) {
	at := e.latest()
	if text := q.URL.Query().Get("after"); text != "" {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id > at {
			fail(w, Refuse(http.StatusBadRequest, fmt.Errorf("after is %.20q, which is not the ID of an event", text)))
			return
		}
		at = id
	}
	to := http.NewResponseController(w)
	to.SetReadDeadline(time.Time{}) // it has sent its request
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	lines := json.NewEncoder(w)
	quiet := time.NewTimer(quietFor)
	defer quiet.Stop()
	to.SetWriteDeadline(time.Now().Add(writeIn))
	if to.Flush() != nil {
		return
	}
	for {
		list, lost, more := e.after(at)
		to.SetWriteDeadline(time.Now().Add(writeIn))
		if lost {
			lines.Encode(Event{Event: "lost", Reason: "this reader was too slow, and has missed events: ask for the status, and begin again"})
			return
		}
		for _, event := range list {
			if lines.Encode(event) != nil {
				return
			}
			at = event.ID
		}
		if len(list) > 0 && to.Flush() != nil {
			return
		}
		if more == nil {
			continue
		}
		quiet.Reset(quietFor)
		select {
		case <-q.Context().Done():
			return
		case <-more:
		case <-quiet.C:
			to.SetWriteDeadline(time.Now().Add(writeIn))
			if _, err := w.Write([]byte("\n")); err != nil || to.Flush() != nil {
				return
			}
		}
	}
}
