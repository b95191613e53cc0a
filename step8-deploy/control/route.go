package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/user"
	"path"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/app"
)

// A Route is one request that a server understands.
type Route struct {
	Pattern string // a method, and a path without the version: "POST /clients/{name}/revoke"

	// Do carries the request out. What it returns is sent as JSON; an error of Refuse with
	// its status, and any other as an internal error. It may be called from any goroutine.
	Do func(*Request) (any, error)

	// Stream, in the place of Do, sends its answer by itself, for as long as it likes, until the
	// request's context ends.
	Stream func(http.ResponseWriter, *http.Request)
}

// A Request is a request of a user.
type Request struct {
	Context context.Context
	By      User
	Name    string // what stands in the place of {name} in the pattern
	http    *http.Request
	answer  *http.ResponseController
}

// arrived is called when the whole request is there. From then on, its context ends when the user leaves, and no
// longer when a request must have arrived.
func (r *Request) arrived() { r.answer.SetReadDeadline(time.Time{}) }

// Parse stores the body, which is JSON, in v. It refuses fields that v does not have, and an
// empty body.
func (r *Request) Parse(v any) error {
	d := json.NewDecoder(r.http.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more than one value")
		}
	}
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case err == nil:
		r.arrived()
		return nil
	case large:
		return Refuse(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxBody))
	case errors.Is(err, io.EOF):
		return Refuse(http.StatusBadRequest, errors.New("the body is empty: it should be JSON"))
	}
	return Refuse(http.StatusBadRequest, fmt.Errorf("the body is not the JSON that belongs here: %s", strings.TrimPrefix(err.Error(), "json: ")))
}

// Query returns the parameter of this name behind the ? of the path, or "".
func (r *Request) Query(name string) string { return r.http.URL.Query().Get(name) }

// A User is who has sent a request, as the kernel says.
type User struct {
	UID int `json:"uid"`
	PID int `json:"pid"`
}

// Name returns the user's name, or the number if there is none.
func (u User) Name() string {
	if a, err := user.LookupId(strconv.Itoa(u.UID)); err == nil {
		return a.Username
	}
	return strconv.Itoa(u.UID)
}

// userOf returns who has sent a request.
func userOf(r *http.Request) User { return r.Context().Value(userKey{}).(User) }

// A refusal is an error that its sender has made.
type refusal struct {
	error
	status int
	field  string
}

func (r refusal) Unwrap() error { return r.error }

// Refuse returns an error that is answered with this status, one of HTTP's. A nil err stays nil.
func Refuse(status int, err error) error {
	if err == nil {
		return nil
	}
	return refusal{error: err, status: status}
}

// RefuseField is Refuse for a field of the request that is wrong.
func RefuseField(field string, err error) error {
	return refusal{error: err, status: http.StatusBadRequest, field: field}
}

// IsRefusal reports whether an error is one of Refuse or RefuseField.
func IsRefusal(err error) bool { return errors.As(err, new(refusal)) }

// An Error is the answer to a request that has failed.
type Error struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Field string `json:"field,omitempty"` // of the request, which is wrong
}

// handler returns what serves the routes.
func (s *Server) handler(routes []Route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		method, at, _ := strings.Cut(r.Pattern, " ")
		pattern := method + " /" + Version + at
		if r.Stream != nil {
			mux.HandleFunc(pattern, r.Stream)
			continue
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
			asked := &Request{Context: q.Context(), By: userOf(q), Name: q.PathValue("name"), http: q, answer: http.NewResponseController(w)}
			if q.ContentLength == 0 {
				asked.arrived()
			}
			if method == http.MethodGet {
				done := s.turn(q.Context(), asked.By.UID)
				if done == nil {
					return
				}
				defer done()
			}
			answer, err := r.Do(asked)
			if err != nil {
				fail(w, err)
				return
			}
			send(w, http.StatusOK, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) { fail(w, unknown(mux, q)) })
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.handlers.Add(1)
		defer s.handlers.Done()
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
		if q.URL.Path != path.Clean(q.URL.Path) { // ServeMux would redirect
			fail(w, unknown(mux, q))
			return
		}
		mux.ServeHTTP(w, q)
	})
}

// unknown returns the error for a request that has no route.
func unknown(mux *http.ServeMux, q *http.Request) error {
	if v, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/"); v != Version {
		return Refuse(http.StatusNotFound, app.Hint(fmt.Errorf("%.40q is not a version of this API", v), "This program knows /%s/.", Version))
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := q.Clone(q.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" && method != q.Method {
			return Refuse(http.StatusMethodNotAllowed, fmt.Errorf("%.40q is not what this path is for: use %s", q.Method, method))
		}
	}
	return Refuse(http.StatusNotFound, app.Hint(fmt.Errorf("there is no %.80q at this socket", q.URL.Path),
		"One socket only reads, and another one changes things: see the settings status_socket and control_socket."))
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	r, is := errors.AsType[refusal](err)
	if !is {
		r = refusal{status: http.StatusInternalServerError}
	}
	text := err.Error()
	if r.field != "" {
		text = strings.TrimPrefix(text, "-") // of the flag that the field stands for
	}
	send(w, r.status, Error{Error: app.Printable(text), Hint: app.Printable(app.HintOf(err)), Field: r.field})
}

// send answers with a value.
func send(w http.ResponseWriter, status int, v any) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerIn))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // an answer may have a key in it
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("an answer was not sent", "error", err)
	}
}
