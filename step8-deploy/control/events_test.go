package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each reader gets all events from then on, in their order.
func TestEvents(t *testing.T) {
	path := socket(t)
	var e Events
	serve(t, path, report, e.Route())
	e.Add(Event{Event: "state", State: "before"})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reading sync.WaitGroup
	var got [4][]Event
	var begun sync.WaitGroup
	for i := range got {
		begun.Add(1)
		reading.Go(func() {
			Follow(ctx, path, begun.Done, func(event Event) {
				if got[i] = append(got[i], event); len(got[i]) == 500 && i == 0 {
					stop()
				}
			})
		})
	}
	begun.Wait()
	for i := range 500 {
		e.Add(Event{Event: "connected", Client: fmt.Sprint("client", i)})
	}
	reading.Wait()
	require.Len(t, got[0], 500)
	for _, list := range got {
		for i, event := range list {
			require.Equal(t, uint64(i+2), event.ID)
			require.Equal(t, fmt.Sprint("client", i), event.Client)
			require.WithinDuration(t, time.Now(), event.Time, 10*time.Minute)
		}
	}
}

// With ?after=, a reader goes on where it was.
func TestEventsAfter(t *testing.T) {
	path := socket(t)
	var e Events
	stop := serve(t, path, report, e.Route())
	for i := range 5 {
		e.Add(Event{Event: "state", State: fmt.Sprint(i)})
	}
	for after, want := range map[string]string{"6": "is not the ID", "-1": "is not the ID", "x": "is not the ID"} {
		require.Contains(t, raw(t, path, "GET /v1/events?after="+after+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), want)
	}
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	io.WriteString(c, "GET /v1/events?after=3 HTTP/1.0\r\n\r\n")
	var text strings.Builder
	for b := make([]byte, 1000); !strings.Contains(text.String(), `"state":"4"`); {
		n, err := c.Read(b)
		require.NoError(t, err, text.String())
		text.Write(b[:n])
	}
	require.Contains(t, text.String(), `"state":"3"`)
	require.NotContains(t, text.String(), `"state":"2"`)
	require.NoError(t, stop(), "a stream does not keep the server")
}

// A reader that does not read is cut off, and told so; nobody waits for it.
func TestSlowReader(t *testing.T) {
	path := socket(t)
	var e Events
	serve(t, path, report, e.Route())
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	io.WriteString(c, "GET /v1/events?after=0 HTTP/1.0\r\n\r\n")
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err, "it is being served")
	for range 20 * keptEvents { // more than its socket's buffers hold
		e.Add(Event{Event: "state", Reason: strings.Repeat("x", 500)})
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := lines[len(lines)-1]
	require.Less(t, len(lines), 19*keptEvents)
	require.Contains(t, last, `"event":"lost"`)

	// One that asks for what is not kept any more is told at once.
	require.Contains(t, raw(t, path, "GET /v1/events?after=1 HTTP/1.0\r\n\r\n"), `"event":"lost"`)
	var event Event
	require.NoError(t, json.Unmarshal([]byte(last), &event))
}
