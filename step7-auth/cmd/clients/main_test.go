package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// The test binary is also the program.
func TestMain(m *testing.M) {
	if os.Getenv("CLIENTS_TEST_PROGRAM") != "" {
		os.Args[0] = "clients"
		main()
	}
	os.Exit(m.Run())
}

// A desk is a folder where the program runs, with a server's key.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T) desk {
	t.Helper()
	d := desk{t, t.TempDir()}
	require.NoError(t, keyfile.Create(d.path("server.key")))
	return d
}

func (d desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d desk) command(args string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], strings.Fields(args)...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "CLIENTS_TEST_PROGRAM=1", "GORACE=atexit_sleep_ms=0") // with -race, it ends 1 s late else
	return cmd
}

// run runs the program, with in as its standard input.
func (d desk) run(in, args string) (stdout, stderr string, code int) {
	d.t.Helper()
	var out, err bytes.Buffer
	cmd := d.command(args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &err
	if err := cmd.Run(); err != nil {
		require.ErrorAs(d.t, err, new(*exec.ExitError))
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// ok runs the program, which must succeed and complain about nothing.
func (d desk) ok(in, args string) string {
	d.t.Helper()
	stdout, stderr, code := d.run(in, args)
	require.Empty(d.t, stderr, args)
	require.Zero(d.t, code, args)
	return stdout
}

// fails runs the program, which must say why it fails, and do nothing.
func (d desk) fails(in, args string, code int, want string) {
	d.t.Helper()
	before := d.files()
	stdout, stderr, is := d.run(in, args)
	require.Equal(d.t, want, stderr, args)
	require.Equal(d.t, code, is, args)
	require.Empty(d.t, stdout, args)
	require.Equal(d.t, before, d.files(), args)
}

// files returns all files and what is in them.
func (d desk) files() map[string]string {
	d.t.Helper()
	entries, err := os.ReadDir(d.dir)
	require.NoError(d.t, err)
	files := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(d.path(e.Name()))
		require.NoError(d.t, err)
		files[e.Name()] = string(text)
	}
	return files
}

func (d desk) client(name string) *identity.Client {
	d.t.Helper()
	r, err := identity.Load(d.path("authorized_clients"))
	require.NoError(d.t, err)
	c, err := r.Find(name)
	require.NoError(d.t, err)
	return c
}

func (d desk) serverKey() noise.PublicKey {
	d.t.Helper()
	return d.publicKey("server.key")
}

// publicKey returns the public key of a key file.
func (d desk) publicKey(name string) noise.PublicKey {
	d.t.Helper()
	key, err := keyfile.Read(d.path(name))
	require.NoError(d.t, err)
	return noise.PrivateKey(key).Public()
}

func TestInit(t *testing.T) {
	d := newDesk(t)
	const exists = " exists already, and nothing is changed\n  To start over, move server.key and authorized_clients away first. With another key, the server is a stranger to all its clients.\n"
	d.fails("", "init", 1, "clients: server.key"+exists) // newDesk has made it
	require.NoError(t, os.Remove(d.path("server.key")))

	out := d.ok("", "init")
	require.Equal(t, "server.key: the server's private key. It stays on this machine.\n"+
		"authorized_clients: the registry. No client may come in yet: add one with 'clients add'.\n"+
		"The server's public key, which clients know it by: "+noise.FormatKey(d.serverKey())+"\n", out)
	for _, name := range []string{"server.key", "authorized_clients"} {
		info, err := os.Stat(d.path(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	require.Equal(t, "NAME  PUBLIC KEY  ADDRESSES  EXPIRES  PASSWORD\n", d.ok("", "list"))
	d.fails("", "init", 1, "clients: server.key"+exists)
	require.NoError(t, os.Rename(d.path("server.key"), d.path("away")))
	d.fails("", "init", 1, "clients: authorized_clients"+exists)
	require.NoError(t, os.Rename(d.path("away"), d.path("server.key")))

	d.ok("", "add alice "+server)
	require.Equal(t, 4, d.client("alice").Line, "the comments stay")

	// It makes both files or none.
	d.fails("", "init -key new.key -registry no/such", 1, "clients: open no/such: no such file or directory\n")
	d.fails("", "init -key no/such -registry new", 1, "clients: open no/such: no such file or directory\n  Choose a file in a folder that exists and that you may write to.\n")
	d.fails("", "init x", 2, "clients: unexpected argument \"x\": every setting is a flag\n  'clients init -help' lists the flags.\n")
}

const server = "-server vpn.example.org:5555 "

func TestAdd(t *testing.T) {
	d := newDesk(t)
	// Printed...
	printed := d.ok("", "add alice "+server)
	require.NoError(t, os.WriteFile(d.path("alice.conf"), []byte(printed), 0o600))
	p, err := identity.LoadProfile(d.path("alice.conf"))
	require.NoError(t, err)
	alice := d.client("alice")
	require.Equal(t, alice.Key, p.PrivateKey.Public())
	require.Equal(t, &identity.Profile{Server: "vpn.example.org:5555", ServerKey: d.serverKey(), PrivateKey: p.PrivateKey}, p)
	require.Equal(t, &identity.Client{Name: "alice", Key: alice.Key, Line: 4}, alice)

	// ...and in a file, with everything.
	require.NoError(t, keyfile.Create(d.path("psk.key")))
	psk, err := keyfile.Read(d.path("psk.key"))
	require.NoError(t, err)
	out := d.ok("secret\n", "add -out bob.conf "+server+" -psk psk.key -addr 10.8.0.7,fd00:8::7 -expires 2099-12-31 -password bob")
	require.Equal(t, "bob.conf: the client file of bob. Copy it to the client over a safe channel, such as scp.\n", out)
	p, err = identity.LoadProfile(d.path("bob.conf"))
	require.NoError(t, err)
	bob := d.client("bob")
	require.Equal(t, bob.Key, p.PrivateKey.Public())
	require.Equal(t, "bob", p.User)
	require.Equal(t, psk, *p.PresharedKey)
	require.Equal(t, "10.8.0.7,fd00:8::7", identity.FormatAddrs(bob.Addrs))
	require.Equal(t, time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC), bob.Expires)
	require.NoError(t, identity.NewPasswords().Check(t.Context(), bob, identity.Source{}, "bob", "secret"))
	require.NotEqual(t, alice.Key, bob.Key)

	// Somebody who has made a key keeps the private one.
	carol := noise.GenerateKey()
	printed = d.ok("", "add carol -expires 720h "+server+"-public-key "+noise.FormatKey(carol.Public()))
	require.Contains(t, printed, "\n# private-key  THE PRIVATE KEY, AND REMOVE THE #\n")
	require.Equal(t, carol.Public(), d.client("carol").Key)
	require.WithinRange(t, d.client("carol").Expires, time.Now().Add(719*time.Hour), time.Now().Add(721*time.Hour))
	filledIn := strings.NewReplacer("# private-key", "private-key", "THE PRIVATE KEY, AND REMOVE THE #", base64.StdEncoding.EncodeToString(carol[:])).Replace(printed)
	p, err = identity.ParseProfile("carol.conf", filledIn)
	require.NoError(t, err)
	require.Equal(t, carol, p.PrivateKey)

	// The command also works on another machine than the server.
	require.NoError(t, os.Rename(d.path("server.key"), d.path("away")))
	printed = d.ok("", "add dora -registry other "+server+"-server-key "+noise.FormatKey(alice.Key))
	p, err = identity.ParseProfile("dora.conf", printed)
	require.NoError(t, err)
	require.Equal(t, alice.Key, p.ServerKey)
	require.FileExists(t, d.path("other"))
}

func TestAddRefuses(t *testing.T) {
	d := newDesk(t)
	d.ok("", "add alice -addr 10.8.0.7 -out alice.conf "+server)
	aliceKey := noise.FormatKey(d.client("alice").Key)
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 32))
	usage := func(text string) string { return "clients: " + text + "\n  'clients add -help' lists the flags.\n" }
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"bob", 2, usage("-server is missing: at which HOST:PORT do clients reach the server?")},
		{"bob -server vpn.example.org", 2, usage(`-server "vpn.example.org" is not HOST:PORT, such as vpn.example.org:5555 or [2001:db8::1]:5555`)},
		{server, 2, usage("NAME is missing")},
		{server + "b/b", 2, usage(`"b/b" is not a valid name: use up to 63 letters (a-z, A-Z), digits and . _ @ -, not starting with . or -`)},
		{server + "bob -addr 10.8.0.7/24", 2, usage(`-addr: "10.8.0.7/24" is not an address, such as 10.8.0.7 or fd00:8::7`)},
		{server + "bob -expires tomorrow", 2, usage(`-expires: "tomorrow" is not a time, such as 2026-12-31 or 2026-12-31T18:00:00Z`)},
		{server + "bob -expires 2020-01-01", 2, usage("-expires: 2020-01-01 is in the past")},
		{server + "bob -expires -1s", 2, usage("-expires: -1s is in the past")},
		{server + "bob -public-key x", 2, usage(`-public-key "x" is not a public key, which has 44 characters of base64`)},
		{server + "bob -public-key " + zeros, 2, usage("-public-key " + zeros + " belongs to no private key")},
		{server + "bob -public-key " + noise.FormatKey(d.serverKey()), 2, usage("-public-key is the server's own: give the client's")},
		{server + "bob -server-key x", 2, usage(`-server-key "x" is not a public key, which has 44 characters of base64`)},
		{server + "alice", 1, "clients: there is a client alice already (authorized_clients:4)\n  Choose another name. To give alice a new key, type 'clients revoke alice' first.\n"},
		{server + "alice -password", 1, "clients: there is a client alice already (authorized_clients:4)\n  Choose another name. To give alice a new key, type 'clients revoke alice' first.\n"},
		{server + "bob -addr fd00::7,10.8.0.7", 1, "clients: the address 10.8.0.7 is that of alice already (authorized_clients:4)\n"},
		{server + "bob -public-key " + aliceKey, 1, "clients: the public key is that of alice already (authorized_clients:4): each client needs a key of its own\n"},
		{server + "bob -out alice.conf", 1, "clients: alice.conf exists already, and is left as it is\n  Choose another name with -out.\n"},
		{server + "bob -out alice.conf -password", 1, "clients: alice.conf exists already, and is left as it is\n  Choose another name with -out.\n"},
		{server + "bob -out no/bob.conf", 1, "clients: open no/bob.conf: no such file or directory\n"},
		{server + "bob -registry no/clients -out bob.conf", 1, "clients: open no: no such file or directory\n  Choose a file in a folder that exists and that you may write to.\n"},
		{server + "bob -key no.key", 1, "clients: there is no key file no.key\n  'clients init -key no.key' makes it, on the server.\n"},
		{server + "bob -psk alice.conf", 1, "clients: key file alice.conf does not hold a key in base64\n  It should be one line of 44 characters.\n"},
	} {
		d.fails("", "add "+tt.args, tt.code, tt.want)
	}
	d.fails("\n", "add bob -password -out bob.conf "+server, 1, "clients: a password has 1 to 255 bytes, not 0\n")
}

// If the client's file can't be printed, the client is not added: its private key would be
// lost.
func TestAddToAFullDisk(t *testing.T) {
	d := newDesk(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	cmd := d.command("add alice " + server)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	require.Error(t, cmd.Run())
	require.Equal(t, "clients: write /dev/stdout: no space left on device\n", stderr.String())
	require.NoFileExists(t, d.path("authorized_clients"))
}

func TestList(t *testing.T) {
	d := newDesk(t)
	d.fails("", "list", 1, "clients: there is no registry authorized_clients\n  'clients init -registry authorized_clients' makes it, with a key for the server; so does adding the first client.\n")
	key := noise.FormatKey(d.serverKey())
	other := noise.FormatKey(noise.GenerateKey().Public())
	require.NoError(t, os.WriteFile(d.path("authorized_clients"), []byte("# x\nbob "+key+" addr=10.8.0.7,fd00::7 expires=2020-01-01\nalice "+other+
		" expires=2099-01-01 password=$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA\n"), 0o600))
	require.Equal(t, "NAME   PUBLIC KEY                                    ADDRESSES         EXPIRES                      PASSWORD\n"+
		"bob    "+key+"  10.8.0.7,fd00::7  2020-01-01T00:00:00Z (over)  no\n"+
		"alice  "+other+"  any               2099-01-01T00:00:00Z         yes\n", d.ok("", "list"))
	require.NoError(t, os.Chmod(d.path("authorized_clients"), 0o622))
	d.fails("", "list", 1, "clients: registry authorized_clients may be written by users other than its owner (mode 0622)\n"+
		"  Whoever can write it decides who gets in. Check that it is as it should be, then type: chmod go-w authorized_clients\n")
}

func TestRevoke(t *testing.T) {
	d := newDesk(t)
	d.fails("", "revoke alice", 1, "clients: there is no registry authorized_clients\n  'clients init -registry authorized_clients' makes it, with a key for the server; so does adding the first client.\n")
	d.ok("", "add alice "+server)
	d.ok("secret", "add bob -password "+server)
	_, line, _ := strings.Cut(d.files()["authorized_clients"], "\nbob ")
	line = "bob " + line
	d.fails("", "revoke bbo", 1, "clients: there is no client \"bbo\"\n  Did you mean bob?\n")
	d.fails("", "revoke zebra", 1, "clients: there is no client \"zebra\"\n  'clients list' shows all clients.\n")
	d.fails("", "revoke", 2, "clients: NAME is missing\n  'clients revoke -help' lists the flags.\n")
	require.Equal(t, "bob: revoked. A running server cuts it off now.\n", d.ok("", "revoke bob"))
	text := d.files()["authorized_clients"]
	withoutHash, _, _ := strings.Cut(line, " password=")
	require.Regexp(t, "\n# revoked 20..-..-..T..:..:..Z: "+regexp.QuoteMeta(withoutHash)+"\n$", text)
	require.NotContains(t, text, "argon2id")

	// Revoking once more does no harm.
	require.Regexp(t, "^bob: was revoked already, on 20..-..-..T..:..:..Z.\n$", d.ok("", "revoke bob"))
	require.Equal(t, text, d.files()["authorized_clients"])
	// He may come back with a new key.
	d.ok("", "add bob "+server)
	require.NotContains(t, withoutHash, noise.FormatKey(d.client("bob").Key))
	require.Equal(t, "bob: revoked. A running server cuts it off now.\n", d.ok("", "revoke bob"))
}

func TestPasswd(t *testing.T) {
	d := newDesk(t)
	d.fails("x", "passwd alice", 1, "clients: there is no registry authorized_clients\n  'clients init -registry authorized_clients' makes it, with a key for the server; so does adding the first client.\n")
	d.ok("", "add alice "+server)
	before := d.files()["authorized_clients"]
	check := func(password string) error {
		return identity.NewPasswords().Check(t.Context(), d.client("alice"), identity.Source{}, "alice", password)
	}
	const set = "alice: comes in with its key and this password. Its client file needs the line 'user alice'.\n"
	require.Equal(t, set, d.ok("first\n", "passwd alice"))
	require.NoError(t, check("first"))
	require.Equal(t, set, d.ok("second", "passwd alice"))
	require.NoError(t, check("second"))
	require.Error(t, check("first"))
	d.fails("x", "passwd alise", 1, "clients: there is no client \"alise\"\n  Did you mean alice?\n")
	d.fails("\n", "passwd alice", 1, "clients: a password has 1 to 255 bytes, not 0\n")
	d.fails("", "passwd alice", 1, "clients: standard input ended without a line\n  Type it, or have a program write it there: ... <FILE\n")
	for range 2 {
		require.Equal(t, "alice: comes in without a password now. Its client file no longer needs the line 'user alice'.\n", d.ok("", "passwd -delete alice"))
		require.Equal(t, before, d.files()["authorized_clients"])
	}
}

func TestPublicKey(t *testing.T) {
	d := newDesk(t)
	require.Equal(t, noise.FormatKey(d.serverKey())+"\n", d.ok("", "public-key"))
	require.NoError(t, os.Rename(d.path("server.key"), d.path("other")))
	require.Equal(t, noise.FormatKey(d.publicKey("other"))+"\n", d.ok("", "public-key -key other"))
	d.fails("", "public-key other", 2, "clients: unexpected argument \"other\": every setting is a flag\n  'clients public-key -help' lists the flags.\n")
}
