package dashboard

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/registrar"
	"stepvpn/step8-deploy/status"
)

// A plain is a browser without scripts: it reads a page, fills in a form as the page has it, and sends it.
type plain struct {
	*http.Client
	at     string
	page   *html.Node
	status int
}

// newPlain returns a browser for a page whose two sockets are served as a server of the VPN does it, with
// a registry of its own and these settings.
func newPlain(t *testing.T, settings string) (*plain, *Server) {
	t.Helper()
	folder, err := os.MkdirTemp("", "web") // t.TempDir may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	path := func(name string) string { return filepath.Join(folder, name) }
	text := "kind = \"server\"\nkey_file = \"server.key\"\nclients_file = \"clients\"\nstate = \"state\"\nwireguard = true\nsubnets = [\"10.8.0.1/24\", \"fd00:8::1/64\"]\n" + settings
	for name, text := range map[string]string{"server.toml": text, "clients": identity.NewText, "server.key": noise.FormatKey(noise.GenerateKey()) + "\n"} {
		require.NoError(t, os.WriteFile(path(name), []byte(text), 0o600))
	}
	cfg, err := config.LoadServer(path("server.toml"))
	require.NoError(t, err)
	service := registrar.Service{Registrar: registrar.New(cfg, cfg.Key), Version: "v", Audit: control.NewAudit(path("audit.log")), Changed: func(control.Event) {}}
	digest := func() string {
		d, err := service.Digest()
		if err != nil {
			t.Error(err)
		}
		return d
	}
	for name, routes := range map[string][]control.Route{
		control.Control: service.Routes(),
		control.Status: {
			{Pattern: "GET /status", Do: func(*control.Request) (any, error) {
				return status.Report{Role: "server", State: status.Up, Registry: digest()}, nil
			}},
			{Pattern: "GET /clients", Do: func(*control.Request) (any, error) {
				all, err := identity.Load(path("clients"))
				if err != nil {
					return nil, err
				}
				answer := control.Clients{Registry: digest()}
				for c := range all.All() {
					one := control.ClientOf(c, time.Now())
					registrar.AddLimits(cfg, c, &one, time.Now())
					answer.Clients = append(answer.Clients, one)
				}
				return answer, nil
			}},
		},
	} {
		l, err := control.Socket{Path: path(name + ".sock"), Name: name}.Listen()
		require.NoError(t, err)
		s := control.Serve(l, routes)
		t.Cleanup(func() { s.Close() })
	}
	s := New(&Settings{
		Listen:       []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8443")},
		StatusSocket: path("status.sock"), ControlSocket: path("control.sock"), Server: "vpn.example.org",
	}, testLogin(t))
	s.door.codes = NewCodes(rfcSecret, time.Now().Add(-time.Hour))
	web := httptest.NewTLSServer(s.Handler())
	t.Cleanup(func() { s.sessions.EndAll(); web.Close() })
	b := &plain{Client: web.Client(), at: web.URL}
	b.Jar, err = cookiejar.New(nil)
	require.NoError(t, err)
	return b, s
}

// open loads a page.
func (b *plain) open(t *testing.T, path string) {
	t.Helper()
	answer, err := b.Get(b.at + path)
	require.NoError(t, err)
	b.take(t, answer)
}

func (b *plain) take(t *testing.T, answer *http.Response) {
	t.Helper()
	defer answer.Body.Close()
	page, err := html.Parse(answer.Body)
	require.NoError(t, err)
	b.page, b.status = page, answer.StatusCode
}

// send fills in fields, by their names, of the form that leads to action, and sends it with all that the
// page has put into the others.
func (b *plain) send(t *testing.T, action string, fields ...string) {
	t.Helper()
	form := first(b.page, func(n *html.Node) bool { return n.Data == "form" && attr(n, "action") == action })
	require.NotNil(t, form, "the page has no form for %s:\n%s", action, textOf(b.page))
	values := make(url.Values)
	for n := range form.Descendants() {
		if n.Data != "input" {
			continue
		}
		require.True(t, attr(n, "type") == "radio" || attr(n, "type") == "hidden" || has(b.page, "label", "for", attr(n, "id")), "the field %s has no label", attr(n, "name"))
		if _, checked := find(n, "checked"); attr(n, "type") != "radio" || checked {
			values.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	for i := 0; i < len(fields); i += 2 {
		require.True(t, values.Has(fields[i]), "the form has no field %s", fields[i])
		values.Set(fields[i], fields[i+1])
	}
	require.Equal(t, "post", attr(form, "method"))
	answer, err := b.PostForm(b.at+action, values)
	require.NoError(t, err)
	b.take(t, answer)
}

// says returns the text of the page.
func (b *plain) says() string {
	return textOf(first(b.page, func(n *html.Node) bool { return n.Data == "main" }))
}

// value returns what a field of the page has.
func (b *plain) value(id string) string {
	return attr(first(b.page, func(n *html.Node) bool { return n.Data == "input" && attr(n, "id") == id }), "value")
}

func first(n *html.Node, is func(*html.Node) bool) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && is(d) {
			return d
		}
	}
	return nil
}

func has(n *html.Node, tag, key, value string) bool {
	return first(n, func(n *html.Node) bool { return n.Data == tag && attr(n, key) == value }) != nil
}

func find(n *html.Node, key string) (string, bool) {
	if n == nil {
		return "", false
	}
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func attr(n *html.Node, key string) string {
	value, _ := find(n, key)
	return value
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// login logs in by the form.
func (b *plain) login(t *testing.T) {
	t.Helper()
	b.open(t, "/")
	b.send(t, "/login", "password", testPassword, "code", codeOf(rfcSecret, stepOf(time.Now())))
	require.Contains(t, b.says(), "Overview")
}

// All that the page can do works without scripts: by its forms, and what the daemon says of them.
func TestFormsWithoutScripts(t *testing.T) {
	b, _ := newPlain(t, "")
	b.open(t, "/clients/alice")
	require.Contains(t, b.says(), "Log in")
	b.login(t)

	b.open(t, "/add")
	b.send(t, "/add", "name", "alice", "expires", "yesterday")
	require.Equal(t, http.StatusBadRequest, b.status)
	require.Contains(t, b.says(), `"yesterday"`)
	require.Equal(t, "alice", b.value("name"), "what was typed is lost")
	b.send(t, "/add", "expires", "30d")
	require.Contains(t, b.says(), "alice is added")
	require.Contains(t, b.says(), "PrivateKey = ")
	b.open(t, "/")
	require.Contains(t, b.says(), "alice")

	b.open(t, "/clients/alice")
	b.send(t, "/clients/alice/expire", "value", "tomorrow")
	require.Contains(t, b.says(), `"tomorrow"`)
	require.Equal(t, "tomorrow", b.value("expires"), "what was typed is lost")
	b.send(t, "/clients/alice/expire", "value", "2099-01-31")
	require.Contains(t, b.says(), "until 2099-01-31")

	b.send(t, "/clients/alice/limit", "down", "20Mbit/s")
	require.Contains(t, b.says(), "The limits are changed.")
	require.Contains(t, b.says(), "20.0 Mbit/s")

	b.send(t, "/clients/alice/rename", "value", "a b")
	require.Equal(t, "a b", b.value("name"), "what was typed is lost")
	b.send(t, "/clients/alice/rename", "value", "alice-laptop")
	require.Contains(t, b.says(), "alice-laptop The client is renamed.")
	require.Contains(t, b.says(), "20.0 Mbit/s", "a limit stays when the name changes")

	b.open(t, "/clients/alice-laptop/revoke")
	b.send(t, "/clients/alice-laptop/revoke")
	require.Contains(t, b.says(), "There is no client yet.")
	b.open(t, "/audit")
	for _, what := range []string{"added alice", "expires alice 2099-01-31", "limited alice down=20Mbit/s done", "renamed alice alice-laptop", "revoked alice-laptop"} {
		require.Contains(t, b.says(), what)
	}
	b.send(t, "/logout")
	b.open(t, "/audit")
	require.Contains(t, b.says(), "Log in")
}

// A limit is set, changed and taken away by one form, in the words of the command; only what was changed is
// asked for.
func TestLimitForm(t *testing.T) {
	b, _ := newPlain(t, "limit_up = \"5Mbit/s\"\nquota = \"1GB/month\"\nquota_then = \"slow 1Mbit/s\"\n")
	b.login(t)
	b.open(t, "/add")
	b.send(t, "/add", "name", "alice")
	b.open(t, "/clients/alice")
	const form = "/clients/alice/limit"
	for _, want := range []string{"Down, to the client none by the server's settings", "Up, from the client 5.0 Mbit/s by the server's settings", "1.0 GB a month by the server's settings",
		"Used 0 B of 1.0 GB", "When it is used up it will be slowed down to 1.0 Mbit/s"} {
		require.Contains(t, b.says(), want)
	}
	shown := func() string { return b.value("down") + " " + b.value("up") + " " + b.value("quota") }
	require.Equal(t, "  ", shown())

	b.send(t, form)
	require.Contains(t, b.says(), "Nothing was changed.")
	b.send(t, form, "down", "20 Mbit/s", "up", "none")
	require.Contains(t, b.says(), "The limits are changed. ")
	require.Contains(t, b.says(), "Down, to the client 20.0 Mbit/s of its own Up, from the client none of its own")
	require.Equal(t, "20Mbit/s none ", shown())

	// What is wrong is said as the command says it; the form keeps what was typed; nothing is changed.
	for _, bad := range []struct{ field, value, says string }{
		{"down", "20M", `Down: it is "20M", which is not clear: a rate is none, or 64kbit/s to 100Gbit/s`},
		{"up", "1Tbit/s", `Up: it is "1Tbit/s", which is not clear`},
		{"up", "1bit/s", `Up: it is "1bit/s", which is too little`},
		{"quota", "100GB", `Quota: it is "100GB", which is not clear: a quota is none, or 1MB/month`},
		{"quota", "1GB/month\ndown=1Gbit/s", "which is not clear"},
		{"quota", strings.Repeat("9", 5000), "which is not clear"},
	} {
		b.send(t, form, bad.field, bad.value, "down", or(bad.field == "down", bad.value, "30Mbit/s"))
		require.Equal(t, http.StatusBadRequest, b.status)
		require.Contains(t, b.says(), bad.says)
		require.Equal(t, bad.value, b.value(bad.field))
		field := first(b.page, func(n *html.Node) bool { return attr(n, "id") == bad.field })
		require.Equal(t, "true", attr(field, "aria-invalid"), "%s isn't marked", bad.field)
		b.open(t, "/clients/alice")
		require.Equal(t, "20Mbit/s none ", shown(), "something was changed")
	}

	b.send(t, form, "down", "", "up", "default", "quota", "100GB/month")
	require.Contains(t, b.says(), "Down, to the client none by the server's settings Up, from the client 5.0 Mbit/s by the server's settings")
	require.Contains(t, b.says(), "100 GB a month of its own")
	require.Equal(t, "  100GB/month", shown())
	b.send(t, form, "quota", "none")
	require.NotContains(t, b.says(), "Begins anew")

	// A form that was opened before somebody else made a change, and is sent after it, does not undo that.
	before := b.page
	b.send(t, form, "quota", "2GB/month")
	b.page = before
	b.send(t, form, "up", "7Mbit/s")
	require.Equal(t, " 7Mbit/s 2GB/month", shown())

	b.open(t, "/audit")
	for _, what := range []string{"limited alice up=7Mbit/s done", "limited alice down=20Mbit/s up=none done", "limited alice down=default up=default quota=100GB/month done", "limited alice quota=none done", `refused: `} {
		require.Contains(t, b.says(), what)
	}
}

func or(is bool, a, b string) string {
	if is {
		return a
	}
	return b
}

// Whose quota is used up is seen in the overview, and what that means on the client's page.
func TestQuotaUsedUp(t *testing.T) {
	anew := time.Date(2099, 2, 1, 0, 0, 0, 0, time.UTC)
	d := &twin{report: status.Report{State: status.Up}, clients: []control.Client{
		{Name: "alice", Quota: &status.Quota{Bytes: 30e6, Used: 31e6, Anew: anew, Over: true}},
		{Name: "bob", Quota: &status.Quota{Bytes: 30e6, Used: 1e6, Anew: anew}},
		{Name: "carol", Quota: &status.Quota{Bytes: 30e6, Used: 30e6, Anew: anew, Over: true, Slow: 1e6}},
	}}
	s, at, browser := begin(t, d)
	session := s.sessions.Begin(time.Now())
	_, text := get(t, browser, at+"/", session)
	require.Equal(t, 2, strings.Count(text, "quota used up"))
	for name, want := range map[string][]string{
		"alice": {"Used 31.0 MB of 30.0 MB", "Begins anew 2099-02-01 00:00 UTC", "Used up cut off"},
		"bob":   {"Used 1.0 MB of 30.0 MB", "When it is used up it will be cut off"},
		"carol": {"Used 30.0 MB of 30.0 MB", "Used up slowed down to 1.0 Mbit/s"},
	} {
		_, text := get(t, browser, at+"/clients/"+name, session)
		page, err := html.Parse(strings.NewReader(text))
		require.NoError(t, err)
		for _, part := range want {
			require.Contains(t, textOf(page), part, name)
		}
	}
}
