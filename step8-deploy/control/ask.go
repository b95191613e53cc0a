package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/status"
)

// This file is the other side of the sockets, for programs that ask.

// ErrNoDaemon is in the error for a socket at which nobody answers.
var ErrNoDaemon = errors.New("no daemon answers")

// QueryStatus asks a daemon at its status socket for its report.
func QueryStatus(ctx context.Context, path string) (*status.Report, error) {
	r := new(status.Report)
	return r, Get(ctx, path, "/status", r)
}

// askEach is how often AwaitRegistry asks.
const askEach = 50 * time.Millisecond

// AwaitRegistry asks a server at its status socket which registry is in force, until done accepts
// the digest, or until the server can't be asked. It returns the cause if ctx ends before that.
func AwaitRegistry(ctx context.Context, path string, done func(digest string) bool) error {
	for {
		now, err := QueryStatus(ctx, path)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || done(now.Registry) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEach):
		}
	}
}

// Get sends a GET request to a socket, and stores the answer in v. The path is that behind the version.
func Get(ctx context.Context, socket, path string, v any) error {
	return ask(ctx, socket, http.MethodGet, path, nil, v)
}

// Post sends a POST request, with a body, to a socket, and stores the answer in v.
func Post(ctx context.Context, socket, path string, body, v any) error {
	return ask(ctx, socket, http.MethodPost, path, body, v)
}

// ClientPath returns the path of what is done to a client: "/clients/NAME/revoke".
func ClientPath(name, verb string) string { return "/clients/" + url.PathEscape(name) + "/" + verb }

// askedIn is how long an answer may take: the daemon itself may have to wait for others that edit
// the registry.
const askedIn = headIn + answerIn + answerIn

func ask(ctx context.Context, socket, method, path string, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, askedIn)
	defer cancel()
	resp, err := do(ctx, socket, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text := io.LimitedReader{R: resp.Body, N: maxAnswer}
	if resp.StatusCode != http.StatusOK {
		return refused(socket, resp.StatusCode, &text)
	}
	if err := json.NewDecoder(&text).Decode(v); err != nil {
		if text.N == 0 {
			err = fmt.Errorf("more than %d bytes", maxAnswer)
		}
		return unreadable(socket, err)
	}
	return nil
}

// do sends a request, and returns the response, whose body the caller must close.
func do(ctx context.Context, socket, method, path string, body any) (*http.Response, error) {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://stepvpn/"+Version+path, send)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: maxHead, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(q)
	switch _, dialled := errors.AsType[*net.OpError](err); {
	case err == nil:
		return resp, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, app.Hint(noDaemon{fmt.Errorf("no daemon answers at %s", socket)},
			"Is it running? 'systemctl status stepvpn-server stepvpn-client' shows that. The setting status_socket says where it answers.")
	case errors.Is(err, fs.ErrPermission):
		return nil, mayNot(socket)
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET): // it did not wait for the request
		return nil, app.Hint(fmt.Errorf("the daemon at %s has closed the connection", socket), "Too many programs may be asking it at once: try again later.")
	case dialled:
		return nil, err
	}
	if e, is := errors.AsType[*url.Error](err); is {
		err = e.Err
	}
	return nil, unreadable(socket, err)
}

type noDaemon struct{ error }

func (noDaemon) Is(target error) bool { return target == ErrNoDaemon }

func unreadable(socket string, err error) error {
	return app.Hint(fmt.Errorf("the answer at %s can't be understood: %w", socket, err),
		"If the daemon there is of another version than this program, restart it.")
}

// A Refused is the error of a request that the daemon has refused.
type Refused struct {
	Status int    // of HTTP
	Field  string // of the request, which is wrong; or ""
	text   string
}

func (r Refused) Error() string { return r.text }

// refused returns the error that an answer stands for.
func refused(socket string, status int, text io.Reader) error {
	var f Error
	if err := json.NewDecoder(text).Decode(&f); err != nil || f.Error == "" {
		return unreadable(socket, fmt.Errorf("%s", http.StatusText(status)))
	}
	err := error(Refused{Status: status, Field: f.Field, text: f.Error})
	if f.Hint != "" {
		err = app.Hint(err, "%s", f.Hint)
	}
	return err
}

// Follow reads the events of a daemon, and calls each with each of them, until ctx ends or the daemon
// does. It calls begun once, when it will miss none from then on.
func Follow(ctx context.Context, socket string, begun func(), each func(Event)) error {
	resp, err := do(ctx, socket, http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(socket, resp.StatusCode, io.LimitReader(resp.Body, maxHead))
	}
	begun()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return unreadable(socket, err)
		}
		each(e)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return lines.Err()
}
