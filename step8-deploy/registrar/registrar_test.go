package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/wireguard/conf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server is one whose keeper serves the socket for changes.
type server struct {
	*Registrar
	dir, socket string

	mu     sync.Mutex // guards events
	events []control.Event
}

func newServer(t *testing.T, settings string) *server {
	dir := t.TempDir()
	s := &server{dir: dir, socket: filepath.Join(dir, "s.sock")}
	text := "kind = \"server\"\nkey_file = \"server.key\"\nclients_file = \"clients\"\nstate = \"state\"\nsubnets = [\"10.8.0.1/24\", \"fd00:8::1/64\"]\n" + settings
	for name, text := range map[string]string{"server.toml": text, "clients": identity.NewText, "server.key": noise.FormatKey(noise.GenerateKey()) + "\n"} {
		require.NoError(t, os.WriteFile(s.path(name), []byte(text), 0o600))
	}
	cfg, err := config.LoadServer(s.path("server.toml"))
	require.NoError(t, err)
	s.Registrar = New(cfg, cfg.Key)
	l, err := control.Socket{Path: s.socket, Name: control.Control}.Listen()
	require.NoError(t, err)
	info, err := os.Stat(s.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "without a group, it is root's")
	at := control.Serve(l, Service{Registrar: s.Registrar, Version: "v", Audit: control.NewAudit(s.path("audit.log")), Changed: func(e control.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}}.Routes())
	t.Cleanup(func() { require.NoError(t, at.Close()) })
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) text(t *testing.T) string {
	text, err := os.ReadFile(s.path("clients"))
	require.NoError(t, err)
	return string(text)
}

func (s *server) client(t *testing.T, name string) *identity.Client {
	r, err := identity.Load(s.path("clients"))
	require.NoError(t, err)
	c, err := r.Find(name)
	require.NoError(t, err)
	return c
}

// both calls test with a server's registry as the commands see it: through the socket, and as a file.
func both(t *testing.T, settings string, test func(t *testing.T, s *server, r Changes)) {
	t.Run("socket", func(t *testing.T) {
		s := newServer(t, settings)
		test(t, s, At(t.Context(), s.socket))
	})
	t.Run("file", func(t *testing.T) {
		s := newServer(t, settings)
		test(t, s, s.Registrar)
	})
}

const someHash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA"

// All changes do the same through the socket and without it.
func TestChanges(t *testing.T) {
	both(t, "limit_up = \"5Mbit/s\"\nquota = \"1GB/month\"\n", func(t *testing.T, s *server, r Changes) {
		var file string
		c, err := r.Add(control.AddRequest{Name: "alice", Server: "vpn.example.org", Addresses: "10.8.0.7", Expires: "720h", PasswordHash: someHash}, func(text string) error {
			file = text
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, "alice", c.Client)
		digest, err := r.Digest()
		require.NoError(t, err)
		require.Equal(t, digest, c.Registry)
		require.Contains(t, file, "\nserver = \"vpn.example.org:5555\"\n")
		require.Contains(t, file, "\nprivate_key = ")
		is := s.client(t, "alice")
		require.Equal(t, "10.8.0.7", is.Addrs[0].String())
		require.WithinDuration(t, time.Now().Add(720*time.Hour), is.Expires, time.Hour)
		require.True(t, is.NeedsPassword())

		looked, err := r.Look("alice")
		require.NoError(t, err)
		require.Equal(t, noise.FormatKey(is.Key), looked.PublicKey)
		require.True(t, looked.Password)

		c, err = r.Expire("alice", "2020-01-01")
		require.NoError(t, err)
		require.Equal(t, "2020-01-01T00:00:00Z", c.Expires.Format(time.RFC3339))
		require.True(t, s.client(t, "alice").Expired(time.Now()))
		_, err = r.Expire("alice", Never)
		require.NoError(t, err)
		require.True(t, s.client(t, "alice").Expires.IsZero())
		_, err = r.Limit("alice", control.Limit{Down: "20Mbit/s", Up: "none", Quota: "100GB/month"})
		require.NoError(t, err)
		looked, err = r.Look("alice")
		require.NoError(t, err)
		require.EqualValues(t, 20e6, looked.LimitDown)
		require.Zero(t, looked.LimitUp)
		require.EqualValues(t, 100e9, looked.Quota.Bytes)
		require.True(t, looked.Quota.Anew.After(time.Now()))
		_, err = r.Limit("alice", control.Limit{Up: Default, Quota: "none"})
		require.NoError(t, err)
		require.Contains(t, s.text(t), " down=20Mbit/s quota=none\n")
		looked, err = r.Look("alice")
		require.NoError(t, err)
		require.EqualValues(t, 5e6, looked.LimitUp, "as the settings say")
		require.Nil(t, looked.Quota)
		_, err = r.SetPassword("alice", "")
		require.NoError(t, err)
		require.False(t, s.client(t, "alice").NeedsPassword())
		_, err = r.Rename("alice", "alicia")
		require.NoError(t, err)
		require.Equal(t, is.Key, s.client(t, "alicia").Key)
		c, err = r.Revoke("alicia")
		require.NoError(t, err)
		require.Empty(t, c.Revoked)
		c, err = r.Revoke("alicia")
		require.NoError(t, err)
		require.NotEmpty(t, c.Revoked)
		digest, err = r.Digest()
		require.NoError(t, err)
		require.Equal(t, digest, c.Registry)
	})
}

// Each refusal is the same through the socket and without it, and changes nothing.
func TestRefusals(t *testing.T) {
	both(t, "", func(t *testing.T, s *server, r Changes) {
		ignore := func(string) error { return nil }
		_, err := r.Add(control.AddRequest{Name: "alice", Server: "a:1", Addresses: "10.8.0.7"}, ignore)
		require.NoError(t, err)
		before := s.text(t)
		add := func(q control.AddRequest) func() error {
			return func() error { _, err := r.Add(q, ignore); return err }
		}
		change := func(_ control.Change, err error) error { return err }
		for want, try := range map[string]func() error{
			"there is a client alice already (":                 add(control.AddRequest{Name: "alice", Server: "a:1"}),
			`"../x" is not a valid name`:                        add(control.AddRequest{Name: "../x", Server: "a:1"}),
			`"a\nb" is not a valid name`:                        add(control.AddRequest{Name: "a\nb", Server: "a:1"}),
			`"" is not a valid name`:                            add(control.AddRequest{Server: "a:1"}),
			"-server is missing":                                add(control.AddRequest{Name: "b"}),
			`-server "a b:5555" is not HOST:PORT`:               add(control.AddRequest{Name: "b", Server: "a b"}),
			"-addr: ":                                           add(control.AddRequest{Name: "b", Server: "a:1", Addresses: "10.8.0.7\nmallory KEY"}),
			"the address 10.8.0.7 is that of alice already":     add(control.AddRequest{Name: "b", Server: "a:1", Addresses: "10.8.0.7"}),
			"the fixed address 10.9.0.7 is in no subnet":        add(control.AddRequest{Name: "b", Server: "a:1", Addresses: "10.9.0.7"}),
			"-expires: 2020-01-01 is in the past":               add(control.AddRequest{Name: "b", Server: "a:1", Expires: "2020-01-01"}),
			"-password-hash: ":                                  add(control.AddRequest{Name: "b", Server: "a:1", PasswordHash: "x\nmallory"}),
			"-public-key ":                                      add(control.AddRequest{Name: "b", Server: "a:1", PublicKey: "x"}),
			"transport":                                         add(control.AddRequest{Name: "b", Server: "a:1", Transport: "both"}),
			"does not let clients of the WireGuard protocol in": add(control.AddRequest{Name: "b", Server: "a:1", WireGuard: true}),
			`there is no client "bob"`:                          func() error { return change(r.Revoke("bob")) },
			`there is no client "Bob"`:                          func() error { return change(r.Expire("Bob", Never)) },
			`"soon" is not a time`:                              func() error { return change(r.Expire("alice", "soon")) },
			`"-b" is not a valid name`:                          func() error { return change(r.Rename("alice", "-b")) },
			`there is no client "c"`:                            func() error { return change(r.Rename("c", "d")) },
			`there is no client "\x00"`:                         func() error { return change(r.Revoke("\x00")) },
			`-down: it is "20M", which is not clear`:            func() error { return change(r.Limit("alice", control.Limit{Down: "20M"})) },
			"-up: it is \"1Mbit/s\\nmallory\", which":           func() error { return change(r.Limit("alice", control.Limit{Up: "1Mbit/s\nmallory"})) },
			`-quota: it is "1GB/month down=1Gbit/s", which`: func() error {
				return change(r.Limit("alice", control.Limit{Down: "1Mbit/s", Quota: "1GB/month down=1Gbit/s"}))
			},
			"nothing is to be set":   func() error { return change(r.Limit("alice", control.Limit{})) },
			`there is no client "f"`: func() error { return change(r.Limit("f", control.Limit{Up: "none"})) },
			`there is no client "e"`: func() error { return change(r.SetPassword("e", someHash)) },
		} {
			require.ErrorContains(t, try(), want)
			require.Equal(t, before, s.text(t), want)
		}
	})
}

// If the file can't be handed out, nobody is added who could come in.
func TestHandOutFails(t *testing.T) {
	both(t, "", func(t *testing.T, s *server, r Changes) {
		_, err := r.Add(control.AddRequest{Name: "alice", Server: "a:1"}, func(string) error { return errors.New("the disk is full") })
		require.EqualError(t, err, "the disk is full")
		all, err := identity.Load(s.path("clients"))
		require.NoError(t, err)
		require.Zero(t, all.Len())
	})
}

// A user who has left gets no client: nobody would have its file.
func TestUserLeaves(t *testing.T) {
	s := newServer(t, "")
	l, err := control.Socket{Path: s.path("2.sock"), Name: control.Control}.Listen()
	require.NoError(t, err)
	routes := Service{Registrar: s.Registrar, Audit: control.NewAudit(s.path("audit.log"))}.Routes()
	for i, r := range routes {
		routes[i].Do = func(q *control.Request) (any, error) {
			left, leave := context.WithCancel(q.Context)
			leave()
			q.Context = left
			return r.Do(q)
		}
	}
	at := control.Serve(l, routes)
	defer at.Close()
	err = control.Post(t.Context(), s.path("2.sock"), "/clients", control.AddRequest{Name: "alice", Server: "a:1"}, new(control.Change))
	require.ErrorContains(t, err, "canceled")
	require.NotContains(t, s.text(t), "alice")
}

// Clients that are added at the same time get different addresses, and each change is noted and told.
func TestAddsAtTheSameTime(t *testing.T) {
	s := newServer(t, "wireguard = true\n")
	var all sync.WaitGroup
	files := make([]string, 8)
	for i := range files {
		all.Go(func() {
			_, err := At(t.Context(), s.socket).Add(control.AddRequest{Name: fmt.Sprint("phone", i), Server: "a:1", WireGuard: true}, func(text string) error {
				files[i] = text
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	addrs := make(map[string]bool)
	for _, file := range files {
		f, err := conf.Parse("f", []byte(file))
		require.NoError(t, err, file)
		addrs[f.Addresses[0].String()] = true
	}
	require.Len(t, addrs, 8)
	require.Len(t, s.events, 8)
	require.Equal(t, os.Getuid(), s.events[0].By.UID)
	var entries control.Entries
	require.NoError(t, control.Get(t.Context(), s.socket, "/audit", &entries))
	require.Len(t, entries.Entries, 8)
	require.Equal(t, os.Getpid(), entries.Entries[0].PID)
	text, err := os.ReadFile(s.path("audit.log"))
	require.NoError(t, err)
	for _, file := range files {
		f, _ := conf.Parse("f", []byte(file))
		require.NotContains(t, string(text), noise.FormatKey(f.PrivateKey), "no secret is in the log")
	}
}

// The status of an answer says whose fault it is, and an error about a field names it.
func TestStatus(t *testing.T) {
	s := newServer(t, "")
	post := func(path string, body any) (control.Refused, error) {
		err := control.Post(t.Context(), s.socket, path, body, new(control.Change))
		r, _ := errors.AsType[control.Refused](err)
		return r, err
	}
	_, err := post("/clients", control.AddRequest{Name: "alice", Server: "a:1"})
	require.NoError(t, err)
	for _, c := range []struct {
		path   string
		body   any
		status int
		field  string
	}{
		{"/clients", control.AddRequest{Name: "alice", Server: "a:1"}, http.StatusConflict, ""},
		{"/clients", control.AddRequest{Name: "b", Server: "a:1", Expires: "x"}, http.StatusBadRequest, "expires"},
		{"/clients", control.AddRequest{Name: "b", Server: "a:1", PublicKey: "x"}, http.StatusBadRequest, "public_key"},
		{"/clients", control.AddRequest{Name: "b/c", Server: "a:1"}, http.StatusBadRequest, ""},
		{"/clients", map[string]string{"name": "b", "admin": "yes"}, http.StatusBadRequest, ""},
		{"/clients/bob/revoke", nil, http.StatusNotFound, ""},
		{"/clients/alice/expire", nil, http.StatusBadRequest, ""},
		{"/clients/alice/limit", control.Limit{Quota: "1GB"}, http.StatusBadRequest, "quota"},
		{"/clients/alice/limit", control.Limit{}, http.StatusBadRequest, ""},
		{"/clients/alice/limit", map[string]string{"then": "cut off"}, http.StatusBadRequest, ""},
		{"/clients/bob/limit", control.Limit{Up: "none"}, http.StatusNotFound, ""},
		{"/clients/alice/rename", control.To{Name: "alice"}, 0, ""},
	} {
		r, err := post(c.path, c.body)
		require.Equal(t, c.status, r.Status, "%s: %v", c.path, err)
		require.Equal(t, c.field, r.Field, "%s: %v", c.path, err)
	}
	// What is broken here is not the fault of whoever asks.
	require.NoError(t, os.Chmod(s.path("clients"), 0o666))
	_, err = post("/clients/alice/revoke", nil)
	require.ErrorContains(t, err, "clients")
	require.NoError(t, os.Remove(s.path("clients")))
	require.NoError(t, os.Mkdir(s.path("clients"), 0o700))
	_, err = post("/clients/alice/revoke", nil)
	require.Error(t, err)
}

// No request, whatever it says, makes a registry that can't be read, or has anybody in it beside whom it names.
func FuzzAdd(f *testing.F) {
	f.Add([]byte(`{"name":"a","server":"b:1"}`))
	f.Add([]byte(`{"name":"a","server":"b:1","addr":"10.8.0.7,fd00:8::7","expires":"720h","own_psk":true,"transport":"tcp"}`))
	f.Add([]byte(`{"name":"a b\nc","server":"b:1","addr":"10.8.0.7 x=y"}`))
	f.Add([]byte(`{"name":"a","server":"b:1","wireguard":true,"public_key":"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var q control.AddRequest
		if json.Unmarshal(body, &q) != nil {
			return
		}
		dir := t.TempDir()
		for name, text := range map[string]string{"clients": identity.NewText, "server.key": noise.FormatKey(noise.GenerateKey()) + "\n",
			"server.toml": "kind = \"server\"\nkey_file = \"server.key\"\nclients_file = \"clients\"\nsubnets = [\"10.8.0.1/24\"]\nwireguard = true\n"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		cfg, err := config.LoadServer(filepath.Join(dir, "server.toml"))
		require.NoError(t, err)
		_, failed := New(cfg, cfg.Key).Add(q, func(string) error { return nil })
		all, err := identity.Load(cfg.Clients)
		require.NoError(t, err)
		if failed != nil {
			require.Zero(t, all.Len())
			return
		}
		require.Equal(t, 1, all.Len())
		c, err := all.Find(q.Name)
		require.NoError(t, err)
		require.False(t, strings.ContainsAny(c.Name, " \n/"))
	})
}
