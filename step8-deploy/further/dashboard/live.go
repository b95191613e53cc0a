package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"stepvpn/step8-deploy/status"
)

// The limits of streams: how many pages may follow the numbers at a time, in all and of one session. Its browser has
// one connection, and some of maxAtOnce must be left for other requests.
const (
	maxStreams   = 32
	maxStreamsOf = maxAtOnce - 3
)

const livePath = "/live"

// A moment is what a page is told each second.
type moment struct {
	Time      float64    `json:"time"` // Unix
	State     string     `json:"state"`
	Reason    string     `json:"reason"`
	Connected int        `json:"connected"`
	Sent      float64    `json:"sent"` // bytes per second, to all clients
	Received  float64    `json:"received"`
	Dropped   uint64     `json:"dropped"` // packets, since the daemon was started
	Peers     []livePeer `json:"peers"`   // those with the most traffic
}

// A livePeer is one client that is connected. Its texts are as the pages show them.
type livePeer struct {
	Name      string     `json:"name"`
	Addresses string     `json:"addresses"`
	Endpoint  string     `json:"endpoint"`
	Sent      string     `json:"sent"`
	Received  string     `json:"received"`
	Used      string     `json:"used"`  // of its quota
	Rates     [2]string  `json:"rates"` // sent, received
	Rate      [2]float64 `json:"rate"`  // the same, in bytes per second
}

func momentOf(r *status.Report) moment {
	m := moment{Time: float64(r.Now.UnixMilli()) / 1000, State: r.State, Reason: r.Reason, Connected: r.Connected(), Peers: []livePeer{}}
	for _, n := range r.Drops {
		m.Dropped += n
	}
	for _, p := range r.Peers {
		m.Sent, m.Received = m.Sent+p.Sent.Rate, m.Received+p.Received.Rate
		used := ""
		if p.Quota != nil {
			used = usedText(p.Quota)
		}
		m.Peers = append(m.Peers, livePeer{
			Name: p.Name, Addresses: joined(p.Addresses), Endpoint: endpointOf(p), Sent: bytesText(p.Sent.Bytes), Received: bytesText(p.Received.Bytes), Used: used,
			Rates: [2]string{rateText(p.Sent.Rate), rateText(p.Received.Rate)}, Rate: [2]float64{p.Sent.Rate, p.Received.Rate},
		})
	}
	if len(m.Peers) > maxRows {
		slices.SortStableFunc(m.Peers, func(a, b livePeer) int {
			switch x, y := a.Rate[0]+a.Rate[1], b.Rate[0]+b.Rate[1]; {
			case x > y:
				return -1
			case x < y:
				return 1
			}
			return 0
		})
		m.Peers = m.Peers[:maxRows]
	}
	return m
}

func endpointOf(p status.Peer) string {
	if !p.Endpoint.IsValid() {
		return ""
	}
	return p.Endpoint.String()
}

// live is a stream of server-sent events (html.spec.whatwg.org/multipage/server-sent-events.html), one each
// second, until the session ends or the page is closed.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.WriteHeader(http.StatusNoContent) // for a browser: do not try again
		return
	}
	session := r.Context().Value(sessionKey{}).(context.Context)
	if !s.sessions.follow(session, 1) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	defer s.sessions.follow(session, -1)
	to := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		to.SetWriteDeadline(time.Now().Add(headIn))
		if !s.tell(w, r) || to.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-session.Done():
			return
		case <-r.Context().Done():
			return
		}
	}
}

// follow counts a stream (1), or that it has ended (-1), of the session with this context, and reports whether there
// is room for it. A session that has ended needs none.
func (s *Sessions) follow(ctx context.Context, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.open {
		if one.ctx == ctx && one.streams+n <= maxStreamsOf {
			one.streams += n
			return true
		}
	}
	return false
}

// tell sends one event.
func (s *Server) tell(w http.ResponseWriter, r *http.Request) (more bool) {
	// Each second the session is looked at, because it also ends when nothing else is asked for.
	if c, err := r.Cookie(cookieName); err != nil {
		return false
	} else if _, ok := s.sessions.Use(c.Value, s.now(), false); !ok {
		return false
	}
	m := moment{State: "gone", Peers: []livePeer{}, Time: float64(time.Now().UnixMilli()) / 1000}
	report, err := s.daemon.report(r.Context())
	if err == nil {
		m = momentOf(report)
	} else {
		m.Reason = err.Error()
	}
	text, err := json.Marshal(m) // in one line
	if err != nil {
		return false
	}
	_, err = w.Write(append(append([]byte("data: "), text...), "\n\n"...))
	return err == nil
}
