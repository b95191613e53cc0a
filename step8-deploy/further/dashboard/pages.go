package dashboard

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/qrcode"
	"stepvpn/step8-deploy/status"
)

// This file is what is shown to who is logged in, and what that person can change.

// maxRows is how many clients one page shows. The field for a name finds the others.
const maxRows = 200

type overviewData struct {
	*status.Report
	Find    string // only names with this in them
	Clients []row
	Total   int // clients in all
	More    int // clients that were found, and are not shown
	Drops   []drop
}

// A row is one client in the overview.
type row struct {
	control.Client
	Rates status.Peer
}

type drop struct {
	Reason  string
	Packets uint64
}

func (s *Server) overview(w http.ResponseWriter, r *http.Request) {
	report, err := s.daemon.report(r.Context())
	if err != nil {
		failed(w, r, err)
		return
	}
	clients, err := s.daemon.clients(r.Context())
	if err != nil && !knowsNot(err) {
		failed(w, r, err)
		return
	}
	d := overviewData{Report: report, Find: r.URL.Query().Get("find"), Total: len(clients), Drops: dropsOf(report)}
	rates := make(map[string]status.Peer, len(report.Peers))
	for _, p := range report.Peers {
		rates[p.Name] = p
	}
	for _, c := range clients {
		if strings.Contains(c.Name, d.Find) {
			d.Clients = append(d.Clients, row{c, rates[c.Name]})
		}
	}
	slices.SortFunc(d.Clients, func(a, b row) int { // who is connected comes first
		return cmp.Or(cmp.Compare(here(b), here(a)), cmp.Compare(a.Name, b.Name))
	})
	if d.More = max(0, len(d.Clients)-maxRows); d.More > 0 {
		d.Clients = d.Clients[:maxRows]
	}
	show(w, r, http.StatusOK, "overview", "Overview", d)
}

func here(r row) int {
	if r.Session != nil {
		return 1
	}
	return 0
}

func dropsOf(r *status.Report) (list []drop) {
	for _, reason := range slices.Sorted(maps.Keys(r.Drops)) {
		if r.Drops[reason] > 0 {
			list = append(list, drop{reason, r.Drops[reason]})
		}
	}
	return list
}

type clientData struct {
	control.Client
	Usage []total // what it has used; nil: the server doesn't say
	Said  string  // what has just been done

	// Of a change that was refused:
	Refused string     // what was to be done
	Typed   url.Values // what its form had
	Wrong   string     // the field that is wrong, if the server says which
	Error   string
}

// A total is what a client has used in some time.
type total struct {
	Span           string
	Sent, Received uint64
}

// spans are the times for which a client's usage is shown.
var spans = []struct {
	name, text string
	span, step time.Duration
}{
	{"hour", "hour", time.Hour, time.Minute},
	{"day", "day", 24 * time.Hour, time.Hour},
	{"month", "30 days", 30 * 24 * time.Hour, 24 * time.Hour},
}

// find returns a client, or answers that there is none.
func (s *Server) find(w http.ResponseWriter, r *http.Request, name string) (c control.Client, ok bool) {
	clients, err := s.daemon.clients(r.Context())
	if err != nil {
		failed(w, r, err)
		return c, false
	}
	i := slices.IndexFunc(clients, func(c control.Client) bool { return c.Name == name })
	if i < 0 {
		fail(w, r, http.StatusNotFound, "There is no such client.", "It may have been revoked or renamed.")
		return c, false
	}
	return clients[i], true
}

// said are the sentences that a client's page may begin with, after a change.
var said = map[string]string{
	"expire":    "It is changed until when the client may come in.",
	"rename":    "The client is renamed.",
	"limit":     "The limits are changed.",
	"unchanged": "Nothing was changed.",
}

func (s *Server) client(w http.ResponseWriter, r *http.Request) {
	c, ok := s.find(w, r, r.PathValue("name"))
	if !ok {
		return
	}
	s.showClient(w, r, http.StatusOK, clientData{Client: c, Said: said[r.URL.Query().Get("said")]})
}

func (s *Server) showClient(w http.ResponseWriter, r *http.Request, status int, d clientData) {
	for _, span := range spans {
		rows, err := s.daemon.usage(r.Context(), d.Name, span.span, span.step)
		if err != nil {
			break // this server does not say
		}
		t := total{Span: span.text}
		for _, row := range rows {
			t.Sent, t.Received = t.Sent+row.Sent, t.Received+row.Received
		}
		d.Usage = append(d.Usage, t)
	}
	show(w, r, status, "client", d.Name, d)
}

// usage is GET /clients/{name}/usage?span=hour: three rows of numbers for a graph, which are the times in
// Unix seconds, and the bytes per second that were sent and received.
func (s *Server) usage(w http.ResponseWriter, r *http.Request) {
	for _, span := range spans {
		if span.name != r.URL.Query().Get("span") {
			continue
		}
		rows, err := s.daemon.usage(r.Context(), r.PathValue("name"), span.span, span.step)
		if err != nil {
			failed(w, r, err)
			return
		}
		send(w, graphOf(rows, time.Now(), span.span, span.step))
		return
	}
	fail(w, r, http.StatusBadRequest, "There is no such span of time.", "")
}

// graphOf returns the rows of a graph, with zeros where the daemon has none: it counts only who is
// connected.
func graphOf(rows []usage, now time.Time, span, step time.Duration) [3][]float64 {
	var g [3][]float64
	used := make(map[int64]usage, len(rows))
	for _, row := range rows {
		used[row.Time.Unix()] = row
	}
	first := now.Add(-span).Truncate(step)
	for t := first; t.Before(now); t = t.Add(step) {
		u := used[t.Unix()]
		g[0] = append(g[0], float64(t.Unix()))
		g[1] = append(g[1], float64(u.Sent)/step.Seconds())
		g[2] = append(g[2], float64(u.Received)/step.Seconds())
	}
	return g
}

// send answers with JSON.
func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// change carries out a change of the client {name}, and shows the client's page, or what was wrong.
// argument returns the body of the request for a form, or nil if that asks for nothing that isn't so already.
func (s *Server) change(w http.ResponseWriter, r *http.Request, verb string, argument func(form url.Values) any) {
	name := r.PathValue("name")
	if err := r.ParseForm(); err != nil {
		fail(w, r, http.StatusBadRequest, "The form can't be read.", "")
		return
	}
	asked := argument(r.PostForm)
	if asked == nil {
		if c, ok := s.find(w, r, name); ok {
			s.showClient(w, r, http.StatusOK, clientData{Client: c, Said: said["unchanged"]})
		}
		return
	}
	changed, err := s.daemon.do(r.Context(), name, verb, asked)
	if refused, is := errors.AsType[control.Refused](err); is && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusNotFound {
		if c, ok := s.find(w, r, name); ok {
			s.showClient(w, r, refused.Status, clientData{Client: c, Error: sentence(err), Refused: verb, Typed: r.PostForm, Wrong: refused.Field})
		}
		return
	}
	if err != nil {
		failed(w, r, err)
		return
	}
	if changed.Client != "" {
		name = changed.Client
	}
	http.Redirect(w, r, "/clients/"+name+"?said="+verb, http.StatusSeeOther)
}

func (s *Server) expire(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "expire", func(form url.Values) any {
		return control.When{Expires: cmp.Or(inHours(strings.TrimSpace(form.Get("value"))), "never")}
	})
}

// inHours returns a number of days, as people think of it, as the daemon reads it: "30d" is "720h". Other
// texts stay as they are.
func inHours(text string) string {
	days, is := strings.CutSuffix(text, "d")
	n, err := strconv.ParseUint(days, 10, 16)
	if !is || err != nil {
		return text
	}
	return strconv.FormatUint(24*n, 10) + "h"
}

func (s *Server) rename(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "rename", func(form url.Values) any {
		return control.To{Name: strings.TrimSpace(form.Get("value"))}
	})
}

func (s *Server) askRevoke(w http.ResponseWriter, r *http.Request) {
	if c, ok := s.find(w, r, r.PathValue("name")); ok {
		show(w, r, http.StatusOK, "revoke", "Revoke "+c.Name, c)
	}
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if _, err := s.daemon.do(r.Context(), r.PathValue("name"), "revoke", nil); err != nil {
		failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

type addData struct {
	control.AddRequest
	CanWireGuard bool
	Error        string
}

func (s *Server) addPage(w http.ResponseWriter, r *http.Request) {
	about, err := s.daemon.about(r.Context())
	if err != nil {
		failed(w, r, err)
		return
	}
	d := addData{CanWireGuard: about.WireGuard}
	d.Server, d.WireGuard = s.settings.Server, about.WireGuard
	show(w, r, http.StatusOK, "add", "Add a client", d)
}

type addedData struct {
	Name, File string
	FileName   string
	Link       template.URL // the file itself
	QR         template.URL // a picture of the QR code; "" for our own client's file
}

// add adds a client. The answer has its file, and is all that there will ever be of it: it has no address
// of its own, and no copy is kept.
func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		fail(w, r, http.StatusBadRequest, "The form can't be read.", "")
		return
	}
	field := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	q := control.AddRequest{Name: field("name"), Server: field("server"), Expires: inHours(field("expires")), WireGuard: field("kind") == "wireguard"}
	c, err := s.daemon.add(r.Context(), q)
	if refused, is := errors.AsType[control.Refused](err); is && refused.Status < http.StatusInternalServerError {
		about, _ := s.daemon.about(r.Context())
		show(w, r, refused.Status, "add", "Add a client", addData{q, about.WireGuard, sentence(err)})
		return
	}
	if err != nil {
		failed(w, r, err)
		return
	}
	d := addedData{Name: c.Client, File: c.File, FileName: c.Client + ".toml"}
	d.Link = template.URL("data:application/octet-stream;base64," + base64.StdEncoding.EncodeToString([]byte(c.File)))
	if !c.Settings {
		d.FileName = c.Client + ".conf"
		if code, err := qrcode.New(c.File); err == nil { // otherwise it is too long
			d.QR = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(code.PNG()))
		}
	}
	show(w, r, http.StatusOK, "added", c.Client+" is added", d)
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	entries, err := s.daemon.audit(r.Context())
	if err != nil {
		failed(w, r, err)
		return
	}
	show(w, r, http.StatusOK, "audit", "Audit log", entries[:min(len(entries), maxRows)])
}
