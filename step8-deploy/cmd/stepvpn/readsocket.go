package main

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/limits"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/registrar"
	"stepvpn/step8-deploy/status"
)

// This file is what a worker answers at its status socket besides its report: who may come in,
// and what happens. (CONTROL.md describes the requests.)

// statusRoute is GET /v1/status.
func statusRoute(report func() *status.Report) control.Route {
	return control.Route{Pattern: "GET /status", Do: func(*control.Request) (any, error) { return report(), nil }}
}

// serverRoutes are what a server answers besides its status.
func serverRoutes(registry func() *identity.Registry, seen *lastseen.Log, change keyChange, limited *limits.Table, now func() ([]hub.Status, *status.Report), happens *news, used usageLog) []control.Route {
	return []control.Route{clientsRoute(registry, seen, change, limited, now), happens.Route(), usageRoute(used)}
}

// clientsRoute is GET /v1/clients. now returns who is there, and the server's report, whose peers are in
// the same order.
func clientsRoute(registry func() *identity.Registry, seen *lastseen.Log, change keyChange, limited *limits.Table, now func() ([]hub.Status, *status.Report)) control.Route {
	return control.Route{Pattern: "GET /clients", Do: func(*control.Request) (any, error) {
		there, r := now()
		sessions := make(map[noise.PublicKey]*status.Peer, len(there))
		for i, c := range there {
			if c.LoggedIn {
				sessions[c.Key] = &r.Peers[i]
			}
		}
		clients := registry()
		answer := control.Clients{Registry: fmt.Sprintf("%x", clients.Digest()), Clients: make([]control.Client, 0, clients.Len())}
		for c := range clients.All() {
			was, _ := seen.Of(c.Key)
			one := control.ClientOf(c, r.Now)
			one.LastSeen, one.NextKey, one.Session = was.At, change.isNext(was.By), sessions[c.Key]
			one.LimitDown, one.LimitUp, one.Quota = limitsNow(limited, c.Key)
			one.OwnLimits = registrar.OwnLimits(c)
			answer.Clients = append(answer.Clients, one)
		}
		return answer, nil
	}}
}

// maxLeases bounds a file of leases, in bytes.
const maxLeases = 16 << 20

// leasesRoute is GET /v1/leases: the worker's file of leases, which the keeper's sandbox may not read.
func leasesRoute(file string) control.Route {
	return control.Route{Pattern: "GET /leases", Do: func(*control.Request) (any, error) {
		text, _, err := atomicfile.Read(file, maxLeases, atomicfile.Ours)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return control.Leases{File: string(text)}, err
	}}
}

// A news tells the readers of GET /v1/events what happens to a server's clients.
type news struct {
	*control.Events
	refusals refusals

	mu   sync.Mutex // guards said
	said [2]string  // the state that was told last, and its reason
}

func newNews() *news { return &news{Events: new(control.Events)} }

// hub takes an event of the hub, while packets wait.
func (n *news) hub(e hub.Event) {
	event := control.Event{Event: e.What, Client: e.Name, Addresses: e.Addrs, Endpoint: e.From, Reason: e.Reason}
	if e.What == hub.TurnedAway {
		told, omitted := n.refusals.allow(time.Now())
		if !told {
			return
		}
		event.Omitted = omitted
	}
	n.Add(event)
}

// state tells the daemon's state, if it has changed.
func (n *news) state(state, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := [2]string{state, reason}
	if now == n.said {
		return
	}
	n.said = now
	n.Add(control.Event{Event: "state", State: state, Reason: reason})
}

// refusals bounds how many refusals are told: strangers cause them, and must not push all else out of
// what is kept for readers.
type refusals struct {
	mu      sync.Mutex // guards all below
	left    float64    // how many may be told now
	at      time.Time
	omitted uint64
}

const (
	refusalsPerSecond = 1
	refusalsAtOnce    = 20
)

// allow reports whether a refusal is told, and how many were not before it.
func (s *refusals) allow(now time.Time) (told bool, omitted uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		s.left = refusalsAtOnce
	}
	s.left = min(refusalsAtOnce, s.left+refusalsPerSecond*now.Sub(s.at).Seconds())
	s.at = now
	if s.left < 1 {
		s.omitted++
		return false, 0
	}
	s.left--
	omitted, s.omitted = s.omitted, 0
	return true, omitted
}
