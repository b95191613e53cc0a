package dashboard

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/source"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// A twin is a daemon whose sockets answer what a test wants.
type twin struct {
	report  status.Report
	clients []control.Client
	added   control.Change
	audit   []control.Entry
	refuse  error
	posts   int // changes that were asked for
}

// serve serves both sockets in a folder.
func (d *twin) serve(t *testing.T, folder string) {
	answer := func(pattern string, v func() any) control.Route {
		return control.Route{Pattern: pattern, Do: func(*control.Request) (any, error) {
			if d.refuse != nil && strings.HasPrefix(pattern, "POST") {
				return nil, control.Refuse(http.StatusConflict, d.refuse)
			}
			if strings.HasPrefix(pattern, "POST") {
				d.posts++
			}
			return v(), nil
		}}
	}
	for name, routes := range map[string][]control.Route{
		control.Status: {
			answer("GET /status", func() any { return d.report }),
			answer("GET /clients", func() any { return control.Clients{Clients: d.clients} }),
		},
		control.Control: {
			answer("GET /server", func() any { return control.About{WireGuard: true} }),
			answer("GET /audit", func() any { return map[string]any{"entries": d.audit} }),
			answer("POST /clients", func() any { return d.added }),
			answer("POST /clients/{name}/revoke", func() any { return control.Change{} }),
			answer("POST /clients/{name}/expire", func() any { return control.Change{} }),
			answer("POST /clients/{name}/rename", func() any { return control.Change{Client: "bob"} }),
		},
	} {
		l, err := control.Socket{Path: filepath.Join(folder, name+".sock"), Name: name}.Listen()
		require.NoError(t, err)
		s := control.Serve(l, routes)
		t.Cleanup(func() { s.Close() })
	}
}

// begin returns a page for a twin, and a browser's side of it, which follows no redirect.
func begin(t *testing.T, d *twin) (s *Server, at string, browser *http.Client) {
	t.Helper()
	folder, err := os.MkdirTemp("", "web") // t.TempDir may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	d.serve(t, folder)
	s = New(&Settings{
		Listen:       []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8443")},
		StatusSocket: filepath.Join(folder, "status.sock"), ControlSocket: filepath.Join(folder, "control.sock"),
	}, testLogin(t))
	web := httptest.NewTLSServer(s.Handler())
	t.Cleanup(func() { s.sessions.EndAll(); web.Close() })
	browser = web.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s, web.URL, browser
}

const testPassword = "correct horse"

// A cheap hash, so that the tests are quick.
func testLogin(t *testing.T) *Login {
	t.Helper()
	salt := []byte("somesalt12345678")
	b64 := base64.RawStdEncoding.EncodeToString
	hash, err := identity.ParsePasswordHash("$argon2id$v=19$m=64,t=1,p=1$" + b64(salt) + "$" + b64(argon2.IDKey([]byte(testPassword), salt, 1, 64, 1, 32)))
	require.NoError(t, err)
	return &Login{password: hash, secret: rfcSecret}
}

// get asks for a page with a cookie, and returns the answer and its text.
func get(t *testing.T, browser *http.Client, address string, session string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	require.NoError(t, err)
	return do(t, browser, r, session)
}

func post(t *testing.T, browser *http.Client, address, session string, form url.Values) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, browser, r, session)
}

func do(t *testing.T, browser *http.Client, r *http.Request, session string) (*http.Response, string) {
	t.Helper()
	if session != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
	}
	answer, err := browser.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}

// everything is all that there is, apart from the login and its stylesheet.
var everything = []string{"GET /", "GET /add", "GET /audit", "GET /live", "GET /clients/alice", "GET /clients/alice/usage?span=hour", "GET /clients/alice/revoke",
	"GET /static/page.js", "GET /static/", "GET /static/../web.login", "GET /nonsense", "POST /add", "POST /clients/alice/revoke", "POST /clients/alice/expire",
	"POST /clients/alice/rename", "POST /clients/alice/limit", "POST /logout", "DELETE /", "PUT /add"}

// Without a session there is the login, and nothing else; nothing reaches the daemon.
func TestNothingWithoutSession(t *testing.T) {
	d := &twin{clients: []control.Client{{Name: "alice"}}, report: status.Report{State: status.Up, Version: "secret-version"}}
	s, at, browser := begin(t, d)
	for _, session := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 4000)} {
		for _, what := range everything {
			method, path, _ := strings.Cut(what, " ")
			r, err := http.NewRequest(method, at+path, strings.NewReader("name=mallory&server=x"))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			answer, text := do(t, browser, r, session)
			require.Contains(t, []int{http.StatusSeeOther, http.StatusUnauthorized, http.StatusMovedPermanently, http.StatusTemporaryRedirect}, answer.StatusCode, what)
			require.NotContains(t, text, "alice</a>", what)
			require.NotContains(t, text, "secret-version", what)
			require.NotContains(t, text, "EventSource", what)
		}
	}
	require.Zero(t, d.posts)
	for path, want := range map[string]string{"/login": "Password", "/static/style.css": "--accent"} {
		answer, text := get(t, browser, at+path, "")
		require.Equal(t, http.StatusOK, answer.StatusCode, path)
		require.Contains(t, text, want)
	}
	// The detector: with a session all of that is seen.
	_, text := get(t, browser, at+"/", s.sessions.Begin(time.Now()))
	require.Contains(t, text, "alice</a>")
	require.Contains(t, text, "secret-version")
	_, _ = post(t, browser, at+"/clients/alice/revoke", s.sessions.Begin(time.Now()), nil)
	require.Equal(t, 1, d.posts)
}

// Somebody who has both comes in, once per code; somebody who lacks one of them is told the same in both cases.
func TestLogin(t *testing.T) {
	s, at, browser := begin(t, &twin{})
	s.door.codes = NewCodes(rfcSecret, time.Now().Add(-time.Hour))
	code := func() string { return codeOf(rfcSecret, stepOf(time.Now())) }
	_, wrongPassword := post(t, browser, at+"/login", "", url.Values{"password": {"x"}, "code": {code()}})
	require.Contains(t, wrongPassword, "Wrong password or code")

	s.door.passwords = identity.NewPasswords() // which knows of no wrong one
	answer, wrongCode := post(t, browser, at+"/login", "", url.Values{"password": {testPassword}, "code": {"000000"}})
	require.Equal(t, wrongPassword, wrongCode, "the answer says which of the two is wrong")
	require.Empty(t, answer.Cookies())

	s.door.codes = NewCodes(rfcSecret, time.Now().Add(-time.Hour))
	used := code()
	form := url.Values{"password": {testPassword}, "code": {used[:3] + " " + used[3:]}}
	answer, _ = post(t, browser, at+"/login", "", form)
	require.Equal(t, http.StatusSeeOther, answer.StatusCode)
	require.Len(t, answer.Cookies(), 2)
	require.Equal(t, "__Host-stepvpn-known="+s.door.Mark()+"; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Strict", answer.Cookies()[1].String())
	session := answer.Cookies()[0].Value
	inside, _ := get(t, browser, at+"/", session)
	require.Equal(t, http.StatusOK, inside.StatusCode)
	answer, _ = post(t, browser, at+"/login", "", form)
	require.Empty(t, answer.Cookies(), "a code opens the door twice")

	answer, _ = post(t, browser, at+"/logout", session, nil)
	require.Equal(t, -1, answer.Cookies()[0].MaxAge)
	inside, _ = get(t, browser, at+"/", session)
	require.Equal(t, http.StatusSeeOther, inside.StatusCode, "who has logged out is still in")
}

// Who guesses has to wait, at loopback, too, where all users of this host have the same address. A browser
// that has logged in before does not wait for that.
func TestGuessersKeepNobodyOut(t *testing.T) {
	s, at, browser := begin(t, &twin{})
	form := func(password string) url.Values { return url.Values{"password": {password}, "code": {"000000"}} }
	answer, _ := post(t, browser, at+"/login", "", form("x"))
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
	answer, text := post(t, browser, at+"/login", "", form(testPassword))
	require.Equal(t, http.StatusTooManyRequests, answer.StatusCode, "after a wrong password there is a wait")
	require.Contains(t, text, "Too many wrong attempts")
	enter := func(from, mark, password, code string) error {
		return s.door.Enter(t.Context(), netip.MustParseAddr(from), mark, password, code)
	}
	const cafe = "192.0.2.1"
	require.ErrorIs(t, enter(cafe, "", "x", ""), ErrWrong)
	require.ErrorAs(t, enter(cafe, "", testPassword, ""), new(WaitError))
	require.ErrorAs(t, enter(cafe, "x", testPassword, ""), new(WaitError))
	require.ErrorIs(t, enter(cafe, s.door.Mark(), "x", ""), ErrWrong)
	s.door.codes = NewCodes(rfcSecret, time.Now().Add(-time.Hour))
	require.NoError(t, enter(cafe, s.door.Mark(), testPassword, codeOf(rfcSecret, stepOf(time.Now()))))

	// The same goes for the queue.
	for range maxWaiting {
		s.door.local <- struct{}{}
		s.door.strangers <- struct{}{}
	}
	require.ErrorIs(t, enter(cafe, "", "x", ""), identity.ErrBusy)
	require.ErrorIs(t, enter("127.0.0.1", "", "x", ""), identity.ErrBusy)
	require.ErrorIs(t, enter("127.0.0.1", s.door.Mark(), "x", ""), ErrWrong, "a known browser's place is its own")
	other := NewDoor(&Login{s.door.owner.Password, []byte("another secret")}, time.Now())
	require.NotEqual(t, s.door.Mark(), other.Mark())
}

// What comes from the daemon is text, whatever stands in it.
func TestMarkupIsText(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	c := control.Client{Name: "alice", PublicKey: evil, Session: &status.Peer{Name: "alice", Protocol: evil}}
	d := &twin{
		clients: []control.Client{c}, audit: []control.Entry{{User: evil, Do: evil, Client: evil, Detail: evil, Error: evil}},
		report: status.Report{State: evil, Reason: evil, Cure: evil, Version: evil, Notes: []string{evil}, Drops: map[string]uint64{evil: 1}},
		added:  control.Change{Client: "alice", File: evil, Settings: true},
	}
	s, at, browser := begin(t, d)
	session := s.sessions.Begin(time.Now())
	check := func(what, text string) {
		require.Contains(t, text, "&lt;img", what)
		require.NotContains(t, text, "<img src=x", what)
		require.NotContains(t, text, "<script>alert", what)
		require.NotContains(t, text, `alert(1)</script>"`, what)
	}
	for _, path := range []string{"/", "/clients/alice", "/audit", "/?find=" + url.QueryEscape(evil)} {
		_, text := get(t, browser, at+path, session)
		check(path, text)
	}
	_, text := post(t, browser, at+"/add", session, url.Values{"name": {"alice"}})
	check("added", text)
	d.refuse = errors.New(evil)
	_, text = post(t, browser, at+"/add", session, url.Values{"name": {evil}})
	check("refused", text)
	_, text = post(t, browser, at+"/clients/alice/expire", session, url.Values{"value": {evil}})
	check("refused", text)
}

// A client's file is in one answer, and in no other, and no address has it.
func TestFileIsShownOnce(t *testing.T) {
	const file = "[Interface]\nPrivateKey = c2VjcmV0\n"
	d := &twin{added: control.Change{Client: "phone", File: file}, clients: []control.Client{{Name: "phone"}}}
	s, at, browser := begin(t, d)
	session := s.sessions.Begin(time.Now())
	answer, text := post(t, browser, at+"/add", session, url.Values{"name": {"phone"}, "server": {"vpn.example.org"}, "kind": {"wireguard"}})
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
	require.Contains(t, text, "PrivateKey = c2VjcmV0")
	require.Contains(t, text, "data:image/png;base64,")
	for _, path := range []string{"/", "/add", "/audit", "/clients/phone"} {
		_, text = get(t, browser, at+path, session)
		require.NotContains(t, text, "c2VjcmV0", path)
	}
}

// A stream ends with its session; the page that has it keeps no session alive.
func TestStreamEndsWithSession(t *testing.T) {
	s, at, browser := begin(t, &twin{report: status.Report{State: status.Up}})
	session := s.sessions.Begin(time.Now())
	r, err := http.NewRequest(http.MethodGet, at+"/live", nil)
	require.NoError(t, err)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
	answer, err := browser.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	first := make([]byte, 6)
	_, err = io.ReadFull(answer.Body, first)
	require.NoError(t, err)
	require.Equal(t, "data: ", string(first))
	s.sessions.End(session)
	_, err = io.Copy(io.Discard, answer.Body) // it ends, and the test with it
	require.NoError(t, err)
}

// A session has a bounded number of streams; a browser that is refused one is told not to try again.
func TestStreamsAreBounded(t *testing.T) {
	s, at, browser := begin(t, &twin{report: status.Report{State: status.Up}})
	session := s.sessions.Begin(time.Now())
	live := func(session string) *http.Response {
		r, err := http.NewRequest(http.MethodGet, at+"/live", nil)
		require.NoError(t, err)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: session})
		answer, err := browser.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	for range maxStreamsOf {
		require.Equal(t, http.StatusOK, live(session).StatusCode)
	}
	require.Equal(t, http.StatusNoContent, live(session).StatusCode, "the browser tries again and again")
	require.Equal(t, http.StatusOK, live(s.sessions.Begin(time.Now())).StatusCode)
	require.Less(t, maxStreamsOf, maxAtOnce)
}

func TestInHours(t *testing.T) {
	for text, want := range map[string]string{"30d": "720h", "1d": "24h", "": "", "d": "d", "-1d": "-1d", "99999d": "99999d", "2027-01-31": "2027-01-31", "720h": "720h"} {
		require.Equal(t, want, inHours(text))
	}
}

// When the daemon is down, that is said, and comes back by itself.
func TestDaemonIsGone(t *testing.T) {
	s, at, browser := begin(t, &twin{})
	s.daemon.read, s.daemon.change = "/nonexistent/status.sock", "/nonexistent/control.sock"
	session := s.sessions.Begin(time.Now())
	for _, path := range []string{"/", "/audit", "/add", "/clients/alice"} {
		answer, text := get(t, browser, at+path, session)
		require.Equal(t, http.StatusBadGateway, answer.StatusCode, path)
		require.Contains(t, text, "No daemon answers at /nonexistent/", path)
		require.Contains(t, text, "Is it running?", path)
	}
}

// Who may not connect to the sockets is told which settings are missing, and not to become root.
func TestMayNotConnect(t *testing.T) {
	w := httptest.NewRecorder()
	failed(w, httptest.NewRequest(http.MethodGet, "/", nil), app.Hint(fmt.Errorf("you may not: %w", fs.ErrPermission), "Run it as root"))
	require.Contains(t, w.Body.String(), "control_group")
	require.NotContains(t, w.Body.String(), "as root")
}

// One network can't take all connections. When there are no more, the idlest without a session makes room.
func TestConnectionsAreBounded(t *testing.T) {
	var b bounded
	enter := func(a string) (c, idlest *counted, ok bool) {
		at := netip.MustParseAddr(a)
		c = &counted{Conn: from{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 1))}, of: &b, networks: source.Networks(nil, at)}
		idlest, ok = b.enter(c)
		return c, idlest, ok
	}
	first, _, _ := enter("192.0.2.1")
	for range maxOfOne - 1 {
		_, _, ok := enter("192.0.2.1")
		require.True(t, ok)
	}
	_, _, ok := enter("192.0.2.1")
	require.False(t, ok, "one address has too many connections")
	n := 0
	for i := range 256 {
		if _, _, ok := enter(fmt.Sprintf("192.0.2.%d", i)); ok {
			n++
		}
	}
	require.Equal(t, maxOfOne, n, "its network has as many again")
	noteUse(context.WithValue(t.Context(), connKey{}, first), true)
	local, _, _ := enter("::1")
	n = 0
	for range 1000 {
		_, idlest, ok := enter("::1")
		require.True(t, ok)
		require.False(t, idlest != nil && idlest.session, "who has a session is thrown out")
		require.LessOrEqual(t, len(b.all), maxConns)
		if idlest == local {
			n++
		}
	}
	require.Equal(t, 1, n, "the owner does not get in when others on this host have all connections")
	require.Contains(t, b.all, first)
	for c := range b.all {
		b.remove(c)
		b.remove(c)
	}
	require.Empty(t, b.open)
}

// Somebody who sends nothing, or plain HTTP, is no burden, and the page serves others. It ends when it is
// told to, whatever is under way.
func TestRun(t *testing.T) {
	folder := t.TempDir()
	_, err := Setup{Folder: folder}.Init()
	require.NoError(t, err)
	settings, err := ReadSettings(filepath.Join(folder, SettingsName))
	require.NoError(t, err)
	settings.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	ctx, cancel := context.WithCancel(t.Context())
	ended, addrs := make(chan error, 1), make(chan []net.Addr, 1)
	s := New(settings, testLogin(t))
	go func() { ended <- s.Run(ctx, func(a []net.Addr) { addrs <- a }) }()
	at := (<-addrs)[0].String()
	idle, err := net.Dial("tcp", at)
	require.NoError(t, err)
	defer idle.Close()
	c, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer c.Close()
	require.EqualValues(t, tls.VersionTLS13, c.ConnectionState().Version)
	fmt.Fprintf(c, "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
	text := make([]byte, 12)
	_, err = io.ReadFull(c, text)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200", string(text))
	_, err = tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	require.Error(t, err)
	cancel()
	<-ended
}

// The set-up makes four files for its user alone, and never the same secret; what they say is read again.
func TestSetup(t *testing.T) {
	folder := t.TempDir()
	setup := Setup{Folder: folder, Hosts: []string{"VPN.example.org"}, Server: `vpn.example.org:5555`}
	made, err := setup.Init()
	require.NoError(t, err)
	for _, name := range []string{"web.toml", "web.login", "web.crt", "web.key"} {
		info, err := os.Stat(filepath.Join(folder, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), name)
		text, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		require.False(t, bytes.Contains(text, []byte(made.Password)), name)
	}
	s, err := ReadSettings(filepath.Join(folder, "web.toml"))
	require.NoError(t, err)
	require.Equal(t, []string{"vpn.example.org"}, s.Hosts)
	require.Equal(t, "vpn.example.org:5555", s.Server)
	require.Equal(t, []string{"127.0.0.1", "::1", "localhost", "vpn.example.org"}, s.names())
	_, err = s.certificate()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(folder, "web.toml"))
	require.NoError(t, err)
	require.NotRegexp(t, `(?m)^# (certificate|key) =`, string(text), "the service sees no other files")
	s.Certificate = filepath.Join(folder, "own.crt")
	_, err = s.certificate()
	require.Contains(t, app.HintOf(err), "takes their place there, also as a link", "what is missing is not made again, with another password")
	login, err := ReadLogin(s.Login)
	require.NoError(t, err)
	require.Equal(t, made.Key, secretText.EncodeToString(login.secret))
	require.Contains(t, made.QR, "█")

	_, err = setup.Init()
	require.ErrorContains(t, err, "is there already")
	again, err := setup.NewPassword()
	require.NoError(t, err)
	require.NotEqual(t, made.Password, again.Password)
	require.NotEqual(t, made.Key, again.Key)
	require.Len(t, again.Password, 23)
	door := func(password string) error {
		login, err := ReadLogin(s.Login)
		require.NoError(t, err)
		return NewDoor(login, time.Now().Add(-time.Hour)).Enter(t.Context(), netip.MustParseAddr("127.0.0.1"), "", password, codeOf(login.secret, stepOf(time.Now())))
	}
	require.NoError(t, door(again.Password))
	require.ErrorIs(t, door(made.Password), ErrWrong)
}

// Wrong settings get one line, with its place.
func TestWrongSettings(t *testing.T) {
	for text, want := range map[string]string{
		"x = 1":                            `line 1: there is no setting "x"`,
		"\nlisten = 7":                     "line 2: ",
		"listen = []":                      "listen has 0 addresses",
		`listen = ["localhost:8443"]`:      `listen has "localhost:8443", which is not an address and a port`,
		`listen = ["127.0.0.1:0"]`:         "not an address and a port",
		`hosts = ["a b"]`:                  `hosts has "a b", which is not the name of a host`,
		`key = ""`:                         "key is not the path",
		"= 1":                              "line 1: ",
		`hosts = ["` + long + `"]`:         "not the name",
		"listen = [" + many + "]":          "listen has 100 addresses",
		"hosts = [\"x\"]\nhosts = [\"y\"]": "line 2: ",
	} {
		_, err := parseSettings([]byte(text), "/")
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "\n", text)
	}
}

var long, many = strings.Repeat("x", 5000), strings.TrimSuffix(strings.Repeat(`"127.0.0.1:8443",`, 100), ",")

func FuzzSettings(f *testing.F) {
	f.Add([]byte(settingsText))
	f.Add([]byte("listen = [\"[::1]:1\"]\nhosts = [\"a\"]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseSettings(text, "/x"); err == nil {
			require.NotEmpty(t, s.Listen)
			for _, h := range s.Hosts {
				require.True(t, isName(h))
			}
		}
		parseLogin(text)
	})
}

// Lines that strangers cause have the attribute by which package app bounds them.
func TestLoginLinesAreBounded(t *testing.T) {
	_, at, browser := begin(t, &twin{})
	var log bytes.Buffer
	defer func(was *slog.Logger) { slog.SetDefault(was) }(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	for _, password := range []string{"x", testPassword} {
		post(t, browser, at+"/login", "", url.Values{"password": {password}, "code": {"000000"}})
	}
	require.Contains(t, log.String(), "somebody could not log in")
	require.Equal(t, strings.Count(log.String(), "\n"), strings.Count(log.String(), " peer=127.0.0.1"), log.String())
}
