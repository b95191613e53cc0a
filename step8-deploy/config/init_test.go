package config

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
)

var (
	someServer = ServerTemplate{File: "server.toml", Listen: ":5555", Subnets: []string{"10.8.0.1/24", "fd00:8::1/64"}}
	someClient = ClientTemplate{File: "client.toml", Servers: []string{"vpn.example.org:5555"}, ServerKey: publicKey}
)

// The templates' files can be loaded, and their values are the defaults.
func TestRender(t *testing.T) {
	text, err := someServer.Render()
	require.NoError(t, err)
	s, err := LoadServer(write(t, string(text)))
	require.NoError(t, err)
	short, err := LoadServer(write(t, shortServer))
	require.NoError(t, err)
	s.Key, s.Clients = short.Key, short.Clients
	require.Empty(t, s.Warning())
	require.NotNil(t, s.Reach, "a new server's file closes it...")
	require.NotEmpty(t, short.Warning(), "...and an older file, without the key, causes a warning")
	s.Reach = nil
	require.Equal(t, short, s)

	text, err = someClient.Render()
	require.NoError(t, err)
	c, err := LoadClient(write(t, string(text)))
	require.NoError(t, err)
	shortC, err := LoadClient(write(t, shortClient))
	require.NoError(t, err)
	c.Key = shortC.Key
	require.Equal(t, shortC, c)

	full := ClientTemplate{File: "a b.toml", Servers: []string{"a.org:1", "[::1]:2"}, ServerKey: publicKey,
		Transport: "tcp", PrivateKey: privateKey, PSK: privateKey}
	text, err = full.Render()
	require.NoError(t, err)
	c, err = LoadClient(write(t, string(text)))
	require.NoError(t, err)
	require.Equal(t, []Endpoint{{"a.org", 1}, {"::1", 2}}, c.Servers)
	require.Equal(t, "tcp", c.Transport)
	require.True(t, c.PrivateKey.Given() && c.PSK.Given())

	bad := someClient
	bad.Servers = []string{"x\"\nkill_switch = false #"}
	_, err = bad.Render()
	require.ErrorContains(t, err, "server is ")
	bad = someClient
	bad.File = "x\nkill_switch = false"
	_, err = bad.Render()
	require.Error(t, err)
}

var assignment = regexp.MustCompile(`(?m)^(?:# )?([a-z_]+) = (.*)$`)

// The template has each key of the schema, and no other. If a comment shows a key, its value is
// the default.
func TestTemplatesAreComplete(t *testing.T) {
	check := func(text []byte, keys []string, defaults map[string]any) {
		seen := make(map[string]bool)
		for _, m := range assignment.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if name == "kind" {
				continue
			}
			require.Contains(t, keys, name)
			require.False(t, seen[name], "the template has %s twice", name)
			seen[name] = true
			if !strings.HasPrefix(string(m[0]), "# ") {
				continue
			}
			var v map[string]any
			require.NoError(t, toml.Unmarshal(append([]byte("x = "), m[2]...), &v), string(m[0]))
			want, ok := defaults[name]
			if !ok {
				require.Contains(t, []any{"", "client.key"}, v["x"], "%s has no default", name)
				continue
			}
			require.Equal(t, want, v["x"], name)
		}
		require.Len(t, seen, len(keys))
	}
	text, err := someServer.Render()
	require.NoError(t, err)
	check(text, keysOf(serverSchema()), defaultsOf(serverSchema()))
	text, err = someClient.Render()
	require.NoError(t, err)
	client := defaultsOf(clientSchema())
	check(text, keysOf(clientSchema()), client)

	var left []string // those that can stand beside wireguard
	for _, s := range clientSchema() {
		if s.instead == "" {
			left = append(left, s.key)
		}
	}
	text, err = ClientTemplate{File: "client.toml", WireGuard: "client.conf"}.Render()
	require.NoError(t, err)
	client["routes"] = "pushed"
	check(text, left, client)
}

func defaultsOf[C any](schema []setting[C]) map[string]any {
	m := make(map[string]any)
	for _, s := range schema {
		if s.def != nil {
			m[s.key] = s.def
		}
	}
	return m
}

// Each key says what is allowed, in words that fit between "Allowed: " and a full stop.
func TestAllowed(t *testing.T) {
	check := func(key, allowed string) {
		require.NotEmpty(t, allowed, key)
		require.NotEqual(t, ".", allowed[len(allowed)-1:], key)
	}
	for _, s := range serverSchema() {
		check(s.key, s.allowed)
	}
	for _, s := range clientSchema() {
		check(s.key, s.allowed)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc", "stepvpn")
	path := func(name string) string { return filepath.Join(dir, name) }
	key, public := NewKey(path("server.key"))
	raw, err := base64.StdEncoding.DecodeString(public)
	require.NoError(t, err)
	require.Len(t, raw, KeySize)

	require.NoError(t, Write(false, key, NewFile{path("server.toml"), []byte("x"), 0o644}))
	got, err := readKey("key_file", path("server.key"))
	require.NoError(t, err, "the mode and the content are right")
	require.Equal(t, string(key.Text), base64.StdEncoding.EncodeToString(got[:])+"\n")
	require.Equal(t, os.FileMode(0o600), mode(t, path("server.key")))
	require.Equal(t, os.FileMode(0o644), mode(t, path("server.toml")))
	require.Equal(t, os.FileMode(0o700), mode(t, dir))

	// One of the files exists already, so none is written.
	err = Write(false, NewFile{path("new"), nil, 0o600}, NewFile{path("server.toml"), []byte("y"), 0o600})
	require.EqualError(t, err, path("server.toml")+" exists already, and is left as it is")
	require.Equal(t, []string{"server.key", "server.toml"}, names(t, dir))

	// A dangling link counts as an existing file.
	require.NoError(t, os.Symlink("/none", path("link")))
	require.ErrorContains(t, Write(false, NewFile{path("link"), nil, 0o600}), "exists already")
	require.NoError(t, os.Remove(path("link")))

	// If a file can't be written, those before it are removed again.
	require.NoError(t, os.WriteFile(path("file"), nil, 0o600))
	require.Error(t, Write(false, NewFile{path("new"), nil, 0o600}, NewFile{path("file/x"), nil, 0o600}))
	require.Equal(t, []string{"file", "server.key", "server.toml"}, names(t, dir))

	require.NoError(t, Write(true, NewFile{path("server.toml"), []byte("y"), 0o600}))
	text, err := os.ReadFile(path("server.toml"))
	require.NoError(t, err)
	require.Equal(t, "y", string(text))
	require.Equal(t, os.FileMode(0o600), mode(t, path("server.toml")))
	require.Equal(t, []string{"file", "server.key", "server.toml"}, names(t, dir), "no temporary file is left")
}

func mode(t *testing.T, name string) os.FileMode {
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func names(t *testing.T, dir string) (list []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	key, _ := NewKey(path("k"))
	require.NoError(t, Write(false, key))
	s := &Server{Key: path("k")}
	require.NoError(t, s.CheckFiles())
	psk, err := s.PresharedKey()
	require.NoError(t, err)
	require.Zero(t, psk)
	s.PSK = path("none")
	require.EqualError(t, s.CheckFiles(), "there is no file "+path("none")+", which the setting psk_file names")
	require.NoError(t, os.Chmod(path("k"), 0o640))
	require.ErrorContains(t, s.CheckFiles(), "may be read or changed by users other than its owner (mode 0640)")

	c := &Client{PrivateKey: Secret{1}, Login: path("login")}
	require.EqualError(t, c.CheckFiles(), "there is no file "+path("login")+", which the setting login_file names")
	for text, want := range map[string]string{
		"alice\nsecret\n": "alice/secret", "alice\r\nse cret": "alice/se cret", "alice\nx\n\n": "alice/x",
		"": "", "alice": "", "alice\n": "", "\nx": "", "a\nb\nc": "", "a\n" + strings.Repeat("x", 2000): "",
	} {
		require.NoError(t, os.WriteFile(path("login"), []byte(text), 0o600))
		user, password, err := c.UserPassword()
		if want == "" {
			require.EqualError(t, err, "login file "+path("login")+" does not hold a user name and a password", text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, user+"/"+password)
	}
	require.NoError(t, os.Chmod(path("login"), 0o644))
	require.ErrorContains(t, c.CheckFiles(), "login file "+path("login")+" may be read")
	own, err := c.OwnKey()
	require.NoError(t, err)
	require.Equal(t, [KeySize]byte{1}, own)
}
