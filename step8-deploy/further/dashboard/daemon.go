package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// A daemon is the VPN server, as its two sockets show it. Nothing else is known here about it. Its
// methods are safe for concurrent use.
type daemon struct {
	read, change string // paths of the sockets

	mu     sync.Mutex // held while the report is fetched: many readers need one request
	latest *status.Report
	at     time.Time
}

// freshFor is how old a report may be: all pages that are open share one.
const freshFor = 900 * time.Millisecond

// report returns what the daemon does now. It is shared: do not change it.
func (d *daemon) report(ctx context.Context) (*status.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.latest != nil && now.Sub(d.at) < freshFor {
		return d.latest, nil
	}
	r, err := control.QueryStatus(ctx, d.read)
	if err != nil {
		return nil, err
	}
	if d.latest != nil && now.Sub(d.at) < 10*time.Second {
		r.Rates(d.latest)
	}
	d.latest, d.at = r, now
	return r, nil
}

// clients returns who may come in.
func (d *daemon) clients(ctx context.Context) ([]control.Client, error) {
	var answer control.Clients
	err := control.Get(ctx, d.read, "/clients", &answer)
	return answer.Clients, err
}

// about returns what the server tells those who may change it.
func (d *daemon) about(ctx context.Context) (about control.About, err error) {
	err = control.Get(ctx, d.change, "/server", &about)
	return about, err
}

// audit returns the latest entries of the audit log, the latest first.
func (d *daemon) audit(ctx context.Context) ([]control.Entry, error) {
	var answer struct {
		Entries []control.Entry `json:"entries"`
	}
	err := control.Get(ctx, d.change, "/audit", &answer)
	for i, j := 0, len(answer.Entries)-1; i < j; i, j = i+1, j-1 {
		answer.Entries[i], answer.Entries[j] = answer.Entries[j], answer.Entries[i]
	}
	return answer.Entries, err
}

// add adds a client, and returns its file.
func (d *daemon) add(ctx context.Context, q control.AddRequest) (c control.Change, err error) {
	err = control.Post(ctx, d.change, "/clients", q, &c)
	d.await(ctx, c.Registry)
	return c, err
}

// do changes something about a client; argument is the body of the request.
func (d *daemon) do(ctx context.Context, name, verb string, argument any) (c control.Change, err error) {
	err = control.Post(ctx, d.change, control.ClientPath(name, verb), argument, &c)
	d.await(ctx, c.Registry)
	return c, err
}

// inForceIn is how long a page waits for the daemon to act upon a change, which takes a second at most.
const inForceIn = 5 * time.Second

// await returns when the registry of this digest is in force, so that the next page shows what was
// changed, or after inForceIn. "" is no digest.
func (d *daemon) await(ctx context.Context, registry string) {
	if registry == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, inForceIn)
	defer cancel()
	control.AwaitRegistry(ctx, d.read, func(now string) bool { return now == registry }) // the change is made in any case
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = nil
}

// A usage is what a client has used: an element of the rows at GET /v1/usage.
type usage struct {
	Time     time.Time `json:"time"`
	Received uint64    `json:"received_bytes"`
	Sent     uint64    `json:"sent_bytes"`
}

// usage returns what a client has used since some time ago, in steps.
func (d *daemon) usage(ctx context.Context, name string, span, step time.Duration) (rows []usage, err error) {
	q := url.Values{"client": {name}, "since": {time.Now().Add(-span).UTC().Format(time.RFC3339)}, "step": {stepText(step)}}
	var answer struct {
		Rows []usage `json:"rows"`
	}
	err = control.Get(ctx, d.read, "/usage?"+q.Encode(), &answer)
	return answer.Rows, err
}

// stepText returns a step as the daemon takes it: "1m", "1h" or "24h".
func stepText(step time.Duration) string {
	if step < time.Hour {
		return fmt.Sprintf("%.0fm", step.Minutes())
	}
	return fmt.Sprintf("%.0fh", step.Hours())
}

// knowsNot reports whether an error says that the daemon has no such request: it is an older one, or a
// setting has switched that off.
func knowsNot(err error) bool {
	refused, is := errors.AsType[control.Refused](err)
	return is && refused.Status == http.StatusNotFound
}
