package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/status"
)

// raw sends bytes to a socket, and returns what comes back until the connection ends.
func raw(t *testing.T, path, text string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, text)
	answer, _ := io.ReadAll(c)
	return string(answer)
}

type thing struct {
	Name string `json:"name"`
}

// echo is a route that answers with what it was sent.
var echo = Route{Pattern: "POST /things/{name}/echo", Do: func(r *Request) (any, error) {
	var t thing
	if err := r.Parse(&t); err != nil {
		return nil, err
	}
	return map[string]any{"of": r.Name, "body": t.Name, "uid": r.By.UID}, nil
}}

// A request that does not belong here is answered with an error, which is JSON, whatever it is.
func TestRequestsThatDoNotBelongHere(t *testing.T) {
	path := socket(t)
	failing := Route{Pattern: "GET /failing", Do: func(*Request) (any, error) { return nil, app.Hint(errors.New("a\x1bb"), "Mend it.") }}
	field := Route{Pattern: "GET /field", Do: func(*Request) (any, error) { return nil, RefuseField("expires", errors.New("-expires: no")) }}
	serve(t, path, report, echo, failing, field)
	ask := func(method, at, body string) (int, string) {
		out := raw(t, path, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, at, len(body), body))
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
		require.NoError(t, err, out)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	code, text := ask("POST", "/v1/things/a%2Fx%0Ay/echo", `{"name":"b"}`)
	require.Equal(t, 200, code)
	require.JSONEq(t, fmt.Sprintf(`{"of":"a/x\ny","body":"b","uid":%d}`, os.Getuid()), text)
	for _, c := range []struct {
		method, at, body string
		code             int
		says             string
	}{
		{"POST", "/v1/things/a/echo", ``, 400, "the body is empty"},
		{"POST", "/v1/things/a/echo", `{`, 400, "unexpected EOF"},
		{"POST", "/v1/things/a/echo", `{"name":1}`, 400, "cannot unmarshal number"},
		{"POST", "/v1/things/a/echo", `{"nam":"x"}`, 400, `unknown field \"nam\"`},
		{"POST", "/v1/things/a/echo", `{"name":"x"}{"name":"y"}`, 400, "more than one value"},
		{"POST", "/v1/things/a/echo", `{"name":"x"}x`, 400, "more than one value"},
		{"POST", "/v1/things/a/echo", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "more than 16384 bytes"},
		{"GET", "/v1/things/a/echo", ``, 405, "use POST"},
		{"DELETE", "/v1/things/a/echo", ``, 405, "use POST"},
		{"POST", "/v1/status", `{}`, 405, "use GET"},
		{"GET", "/v1/nothing", ``, 404, "/v1/nothing"},
		{"GET", "/v1/things/../status", ``, 404, "at this socket"},
		{"POST", "/v1/things/..%2Fx/echo", `{"name":"b"}`, 404, "at this socket"},
		{"GET", "/v1//status", ``, 404, "at this socket"},
		{"GET", "/v2/status", ``, 404, `\"v2\" is not a version of this API`},
		{"GET", "/", ``, 404, "is not a version"},
		{"GET", "/v1/failing", ``, 500, `"error":"a` + "\ufffd" + `b","hint":"Mend it."`},
		{"GET", "/v1/field", ``, 400, `{"error":"expires: no","field":"expires"}`},
	} {
		code, text := ask(c.method, c.at, c.body)
		require.Equal(t, c.code, code, "%s %s %.50s: %s", c.method, c.at, c.body, text)
		require.Contains(t, text, c.says)
		require.True(t, json.Valid([]byte(text)), text)
	}
	for _, nonsense := range []string{"", "\x00\x01", "GET\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"POST /v1/things/a/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + strings.Repeat("4000\r\n"+strings.Repeat(" ", 0x4000)+"\r\n", 100)} {
		require.NotContains(t, raw(t, path, nonsense+"\r\n\r\n"), "200 OK")
	}
	r, err := QueryStatus(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, report(), r)
}

// The judge of the form is curl.
func TestCurl(t *testing.T) {
	path := socket(t)
	serve(t, path, report)
	out, err := exec.Command("curl", "-sS", "--fail", "--unix-socket", path, "http://x/v1/status").Output()
	require.NoError(t, err)
	var r status.Report
	require.NoError(t, json.Unmarshal(out, &r))
	require.Equal(t, report(), &r)
}

// A thousand connections that send their requests a byte at a time, or nothing at all, end in time. Then, others are
// served again; what answers meanwhile says why it does not.
func TestSlowRequests(t *testing.T) {
	path := socket(t)
	serve(t, path, report)
	var ended atomic.Int32
	for range 1000 {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		io.WriteString(c, "GET /v1/sta")
		go func() {
			c.SetReadDeadline(time.Now().Add(time.Minute))
			answer, _ := io.ReadAll(c)
			if len(answer) == 0 || strings.Contains(string(answer), "503") || strings.Contains(string(answer), "408") || strings.Contains(string(answer), "400") {
				ended.Add(1)
			}
		}()
	}
	require.Eventually(t, func() bool { return ended.Load() == 1000 }, time.Minute, 10*time.Millisecond)
	_, err := QueryStatus(t.Context(), path)
	require.NoError(t, err)
}

// A user who has as many connections as there may be of one is told so, and keeps nobody else out.
func TestTooManyConnections(t *testing.T) {
	l := listener{open: make(map[int]int)}
	for range maxPerUser {
		require.True(t, l.enter(1000))
	}
	require.False(t, l.enter(1000))
	require.True(t, l.enter(0))
	l.leave(1000)
	require.True(t, l.enter(1000))
	for uid := 1; l.n < maxConns; uid++ {
		require.True(t, l.enter(uid))
	}
	require.False(t, l.enter(5000))
	require.LessOrEqual(t, len(l.open), maxConns)

	path := socket(t)
	serve(t, path, report)
	var list []net.Conn
	for range maxPerUser {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		list = append(list, c)
	}
	_, err := QueryStatus(t.Context(), path)
	require.Error(t, err)
	require.Contains(t, err.Error()+app.HintOf(err), "at once: try again later") // it may not have waited for the request
	require.Contains(t, raw(t, path, ""), "too many connections at once")
	list[0].Close()
	require.Eventually(t, func() bool { _, err := QueryStatus(t.Context(), path); return err == nil }, time.Minute, 10*time.Millisecond)
}

// A user who is refused in any case is not answered.
func TestRefusedUser(t *testing.T) {
	path := socket(t)
	l, err := listen(path)
	require.NoError(t, err)
	s := Serve(l, []Route{echo}, os.Getuid())
	defer s.Close()
	require.Empty(t, raw(t, path, "POST /v1/things/a/echo HTTP/1.1\r\nHost: x\r\n\r\n"))
}

// Close waits for requests that are worked on.
func TestClose(t *testing.T) {
	path := socket(t)
	began, go_on := make(chan bool), make(chan bool)
	var done atomic.Bool
	stop := serve(t, path, report, Route{Pattern: "GET /slow", Do: func(r *Request) (any, error) {
		close(began)
		<-r.Context.Done()
		<-go_on
		done.Store(true)
		return nil, nil
	}})
	go Get(context.Background(), path, "/slow", new(any))
	<-began
	go close(go_on)
	require.NoError(t, stop())
	require.True(t, done.Load())
}

// The context of a request ends when its user leaves, and not while it waits.
func TestUserLeaves(t *testing.T) {
	path := socket(t)
	waits := func(r *Request) (any, error) {
		select {
		case <-r.Context.Done():
			t.Error("the context has ended while the user waits")
		case <-time.After(headIn + 2*time.Second):
		}
		return "waited", nil
	}
	left := make(chan bool)
	leaves := Route{Pattern: "POST /leaves", Do: func(r *Request) (any, error) {
		require.NoError(t, r.Parse(new(thing)))
		<-r.Context.Done()
		left <- true
		return nil, nil
	}}
	serve(t, path, report, leaves, Route{Pattern: "GET /waits", Do: waits}, Route{Pattern: "POST /waits", Do: func(r *Request) (any, error) {
		require.NoError(t, r.Parse(new(thing)))
		return waits(r)
	}})
	both := make(chan error, 2)
	go func() { both <- Get(t.Context(), path, "/waits", new(any)) }()
	go func() { both <- Post(t.Context(), path, "/waits", thing{"x"}, new(any)) }()
	require.NoError(t, <-both)
	require.NoError(t, <-both)

	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	io.WriteString(c, "POST /v1/leaves HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	require.NoError(t, c.Close())
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Fatal("the context has not ended")
	}
}

// A user who asks much and reads slowly has no more than a few answers in the server's memory.
func TestSlowReaders(t *testing.T) {
	path := socket(t)
	var begun atomic.Int32
	large := strings.Repeat("x", 4<<20)
	serve(t, path, report, Route{Pattern: "GET /large", Do: func(*Request) (any, error) {
		begun.Add(1)
		return large, nil
	}})
	var list []net.Conn
	for range 4 * maxAnswers {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		io.WriteString(c, "GET /v1/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		list = append(list, c)
	}
	require.Eventually(t, func() bool { return begun.Load() >= maxAnswers }, time.Minute, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // more would begin now
	require.EqualValues(t, maxAnswers, begun.Load())
	for _, c := range list { // in any order they are answered
		go io.Copy(io.Discard, c)
	}
	require.Eventually(t, func() bool { return int(begun.Load()) == len(list) }, time.Minute, time.Millisecond)
}

// Any bytes as a body are refused or read, and never more than that.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"name":"a"}`, `{"name":"a","x":1}`, `{`, `[]`, `null`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var q AddRequest
		r := &Request{http: &http.Request{Body: io.NopCloser(strings.NewReader(string(body)))}, answer: http.NewResponseController(nil)}
		if err := r.Parse(&q); err != nil {
			require.True(t, IsRefusal(err), err)
			return
		}
		again, err := json.Marshal(q)
		require.NoError(t, err)
		require.LessOrEqual(t, len(again), 7*len(body)+200)
	})
}
