package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/config"
)

func TestMain(m *testing.M) { netlab.Main(m) }

const passphrase = "correct horse battery"

// cheap is a work factor for tests, which takes no time.
const cheap = 4

// A host is a folder with the files of a server and a client.
type host struct {
	t          *testing.T
	dir, state string
}

func newHost(t *testing.T) *host {
	t.Helper()
	root := t.TempDir()
	return &host{t, filepath.Join(root, "etc"), filepath.Join(root, "var")}
}

const key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

func (h *host) server() string {
	return fmt.Sprintf("kind = \"server\"\nkey_file = \"$CREDENTIALS_DIRECTORY/server.key\"\nclients_file = \"clients\"\npsk_file = \"psk\"\nsubnets = [\"10.8.0.1/24\"]\nstate = %q\n", h.state)
}

func (h *host) client() string {
	return fmt.Sprintf("kind = \"client\"\nserver = \"192.0.2.1:5555\"\nserver_key = %q\nkey_file = \"client.key\"\nlogin_file = \"login\"\nstate = %q\n", key, h.state)
}

// filled is a host on which everything is that a backup can have.
func filled(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	for name, text := range map[string]string{
		"etc/server.toml": h.server(), "etc/server.key": "1", "etc/server.key.next": "2", "etc/psk": "3", "etc/clients": "4",
		"etc/clients.psk": "5", "etc/wireguard.key": "6", "etc/client.toml": h.client(), "etc/client.key": "7", "etc/login": "8",
		"var/server-keys": "9", "var/worker/pool/leases": "10", "var/worker/pool/seen": "11", "var/worker/pool/asked": "12",
		"var/worker/pool/usage/days.1": "13", "var/worker/pool/usage/seconds.7": "14", "var/audit.log": "15", "var/audit.log.1": "16",
		"var/worker/pool/used": "17",
	} {
		h.put(name, text)
	}
	require.NoError(t, os.Chmod(filepath.Join(h.state, "worker"), 0o711))
	return h
}

func (h *host) path(name string) string { return filepath.Join(filepath.Dir(h.dir), name) }

func (h *host) put(name, text string) {
	h.t.Helper()
	require.NoError(h.t, os.MkdirAll(filepath.Dir(h.path(name)), 0o700))
	require.NoError(h.t, os.WriteFile(h.path(name), []byte(text), 0o600))
}

// tree returns everything on a host, with modes.
func (h *host) tree() map[string]string {
	h.t.Helper()
	all := make(map[string]string)
	require.NoError(h.t, filepath.WalkDir(filepath.Dir(h.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		if name, _ := filepath.Rel(filepath.Dir(h.dir), path); name != "." && name != "var/client.lock" {
			all[name] = text
		}
		return nil
	}))
	return all
}

// wipe removes everything.
func (h *host) wipe() {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.dir))
	require.NoError(h.t, os.RemoveAll(h.state))
}

func (h *host) collect() *Archive {
	h.t.Helper()
	a, err := Collect(h.dir, "test")
	require.NoError(h.t, err)
	return a
}

func (h *host) options() Options {
	return Options{Dir: h.dir, Allow: []string{h.state}, Worker: atomicfile.Owner{UID: os.Geteuid(), GID: os.Getegid()}, Running: Running}
}

// through packs, encrypts, decrypts and unpacks.
func through(t *testing.T, a *Archive) *Archive {
	t.Helper()
	sealed, err := a.seal(passphrase, cheap)
	require.NoError(t, err)
	b, err := open(sealed, passphrase)
	require.NoError(t, err)
	require.Equal(t, a, b)
	return b
}

// What was backed up and wiped is as before after a restore, with its modes, and what is the
// worker's belongs to it.
func TestRoundTrip(t *testing.T) {
	h := filled(t)
	before := h.tree()
	a := through(t, h.collect())
	require.Len(t, a.Files, 19)
	h.wipe()
	o := h.options()
	if os.Chown(t.TempDir(), 12, 34) == nil {
		o.Worker = atomicfile.Owner{UID: 12, GID: 34}
	}
	placed, replaced, err := a.Restore(o)
	require.NoError(t, err)
	require.Empty(t, replaced)
	require.Contains(t, placed, filepath.Join(h.dir, "server.key"))
	require.Equal(t, before, h.tree())
	for name, owner := range map[string]atomicfile.Owner{
		"var/worker": {UID: os.Geteuid(), GID: os.Getegid()}, "var/worker/pool": o.Worker, "var/worker/pool/leases": o.Worker,
		"var/worker/pool/usage": o.Worker, "var/worker/pool/usage/days.1": o.Worker, "etc/server.key": {UID: os.Geteuid(), GID: os.Getegid()},
	} {
		info, err := os.Lstat(h.path(name))
		require.NoError(t, err)
		require.Equal(t, owner, atomicfile.OwnerOf(info), name)
	}
}

// Without force, nothing is replaced. With it, all that was there is kept beside, also what the
// backup does not have: another server's next key must not stay.
func TestThereAlready(t *testing.T) {
	h := filled(t)
	require.NoError(t, os.Remove(h.path("etc/server.key.next")))
	a := h.collect()
	h.put("etc/server.key.next", "of another")
	h.put("etc/clients", "others")
	before := h.tree()
	_, _, err := a.Restore(h.options())
	require.ErrorContains(t, err, "this is there already: "+h.path("etc/server.toml"))
	require.Contains(t, app.HintOf(err), "-force")
	require.Equal(t, before, h.tree())

	o := h.options()
	o.Force = true
	_, replaced, err := a.Restore(o)
	require.NoError(t, err)
	require.Contains(t, replaced, h.path("etc/clients.before-restore"))
	after := h.tree()
	require.Equal(t, "-rw------- 4", after["etc/clients"])
	require.Equal(t, "-rw------- others", after["etc/clients.before-restore"])
	require.Equal(t, "-rw------- of another", after["etc/server.key.next.before-restore"])
	require.NotContains(t, after, "etc/server.key.next")
	require.Equal(t, "-rw------- 10", after["var/worker.before-restore/pool/leases"])

	// What was kept is never lost, and nobody is told to remove it.
	for n := 2; n <= 9; n++ {
		_, replaced, err = a.Restore(o)
		require.NoError(t, err)
		require.Contains(t, replaced, fmt.Sprint(h.path("etc/clients.before-restore."), n))
	}
	for name, text := range after {
		require.Equal(t, text, h.tree()[name], name)
	}
	_, _, err = a.Restore(o)
	require.ErrorContains(t, err, ".before-restore is there already")
	require.NotContains(t, app.HintOf(err), "emove it")
}

// A restore that is killed while it puts files in place is finished by another one, and what was there before both
// is still there.
func TestKilled(t *testing.T) {
	h := filled(t)
	a := h.collect()
	o := h.options()
	for name, kept := range map[string]string{"etc/server.toml": "", "etc/server.key": "new", "etc/clients": "old"} {
		require.NoError(t, os.Rename(h.path(name), h.path(name+asideSuffix))) // the settings are missing...
		switch kept {
		case "new": // ...a file of the backup is in place...
			h.put(name, "1")
		case "old": // ...another is not, and has its draft
			h.put(name+draftSuffix, "4")
		}
	}
	o.Force = true
	_, _, err := a.Restore(o)
	require.NoError(t, err)
	require.Equal(t, "-rw------- 1", h.tree()["etc/server.key.before-restore"])
	require.Equal(t, "-rw------- 4", h.tree()["etc/clients"])
	require.NotContains(t, h.tree(), "etc/clients.restored")
	require.Contains(t, h.tree(), "etc/server.toml")
}

// If one file can't get to its place, all is as it was.
func TestHalfWay(t *testing.T) {
	h := filled(t)
	a := h.collect()
	before := h.tree()
	require.NoError(t, unix.Mount(h.path("etc/login"), h.path("etc/login"), "", unix.MS_BIND, ""))
	o := h.options()
	o.Force = true
	_, _, err := a.Restore(o)
	require.ErrorIs(t, err, unix.EBUSY, "it is a mount point")
	require.NoError(t, unix.Unmount(h.path("etc/login"), 0))
	require.Equal(t, before, h.tree())
}

// A file that was damaged or cut off anywhere, or for which the passphrase is wrong, is refused.
func TestDamaged(t *testing.T) {
	h := filled(t)
	sealed, err := h.collect().seal(passphrase, cheap)
	require.NoError(t, err)
	_, err = open(sealed, passphrase)
	require.NoError(t, err)
	_, err = open(sealed, passphrase+"!")
	require.EqualError(t, err, "the passphrase is wrong, or the file is damaged")
	for n := 0; n < len(sealed); n += 97 {
		_, err := open(sealed[:n], passphrase)
		require.Error(t, err, "cut off after %d bytes", n)
		bad := bytes.Clone(sealed)
		bad[n] ^= 1
		_, err = open(bad, passphrase)
		require.Error(t, err, "byte %d is another one", n)
	}
	_, err = open(append(bytes.Clone(sealed), 0), passphrase)
	require.Error(t, err, "there is one more byte")
}

// What would take too much memory to decrypt is refused.
func TestExpensive(t *testing.T) {
	sealed, err := filled(t).collect().seal(passphrase, cheap)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(sealed[len("age-encryption.org/v1\n"):]), "\n")
	require.True(t, strings.HasPrefix(line, "-> scrypt ") && strings.HasSuffix(line, " 4"), line)
	for _, n := range []string{"19", "22", "63"} {
		_, err := open(bytes.Replace(sealed, []byte(line), []byte(strings.TrimSuffix(line, "4")+n), 1), passphrase)
		require.ErrorContains(t, err, "work factor")
	}
}

func TestPassphrase(t *testing.T) {
	_, err := filled(t).collect().seal("elevenbytes", cheap)
	require.EqualError(t, err, "the passphrase has less than 12 bytes")
}

// An entry is a file of a tar file.
type entry struct {
	tar.Header
	text string
}

func manifest(version int) entry {
	text, _ := json.Marshal(Manifest{Format, version, time.Unix(0, 0), "host", "test"})
	return entry{tar.Header{Name: manifestName}, string(text)}
}

func pack(t testing.TB, list ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range list {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.text))
		}
		require.NoError(t, w.WriteHeader(&e.Header))
		if e.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(e.text))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// Whatever an archive has in it, nothing is put anywhere but where a server's and a client's own
// files are.
func TestHostile(t *testing.T) {
	h := newHost(t)
	file := func(name, text string) entry { return entry{tar.Header{Name: name}, text} }
	server := h.server()
	good := []entry{manifest(1), file("server/server.toml", server), file("server/key", "1"), file("server/psk", "2"), file("server/clients", "3")}
	with := func(more ...entry) []entry { return append(append([]entry{}, good...), more...) }
	instead := func(old, new string) []entry {
		list := append([]entry{}, good...)
		require.Contains(t, server, old)
		list[1].text = strings.Replace(server, old, new, 1)
		return list
	}
	try := func(list []entry) error {
		a, err := unpack(bytes.NewReader(pack(t, list...)))
		if err == nil {
			_, _, err = a.Restore(h.options())
		}
		return err
	}
	for name, c := range map[string]struct {
		list []entry
		says string
	}{
		"a path upwards":        {with(file("../evil", "x")), "does not belong into one: ../evil"},
		"a longer one":          {with(file("server/usage/../../../evil", "x")), "does not belong into one: server/usage/../../../evil"},
		"an absolute path":      {with(file("/etc/evil", "x")), "does not belong into one: /etc/evil"},
		"an unknown file":       {with(file("server/evil", "x")), "does not belong into one: server/evil"},
		"a client's file":       {with(file("client/key", "x")), "does not belong into one: client/key"},
		"a hidden file":         {with(file("server/usage/.evil", "x")), "does not belong into one"},
		"a file twice":          {with(file("server/key", "x")), "it has server/key twice"},
		"a symlink":             {with(entry{tar.Header{Name: "server/seen", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, ""}), "server/seen is not a regular file"},
		"a hard link":           {with(entry{tar.Header{Name: "server/seen", Typeflag: tar.TypeLink, Linkname: "server/key"}, ""}), "server/seen is not a regular file"},
		"a folder":              {with(entry{tar.Header{Name: "server/usage/", Typeflag: tar.TypeDir}, ""}), "is not a regular file"},
		"a device":              {with(entry{tar.Header{Name: "server/seen", Typeflag: tar.TypeChar}, ""}), "is not a regular file"},
		"a long name":           {with(file("server/usage/"+strings.Repeat("a", 100), "x")), "is not a regular file with a name of ours"},
		"an odd name":           {with(file("server/usage/a\x1b[2J", "x")), "is not a regular file with a name of ours"},
		"a long key":            {append(append([]entry{}, good[:2]...), file("server/key", strings.Repeat("x", maxSecret+1)), good[3], good[4]), "server/key in the backup has more than 4096 bytes"},
		"no key":                {append(append([]entry{}, good[:2]...), good[3], good[4]), "the backup lacks server/key"},
		"no settings":           {[]entry{manifest(1)}, "neither the settings of a server nor those of a client"},
		"no manifest":           {good[1:], "does not begin with its manifest.json"},
		"nothing":               {nil, "it is damaged: unexpected EOF"},
		"a newer version":       {append([]entry{manifest(Version + 1)}, good[1:]...), "a newer version of this program has made it"},
		"no version":            {append([]entry{manifest(0)}, good[1:]...), "it has version 0"},
		"a broken setting":      {instead("kind =", "kind ="+"="), "the settings in the backup: "},
		"another kind":          {instead(`"server"`, `"client"`), "the settings in the backup: "},
		"a key elsewhere":       {instead("$CREDENTIALS_DIRECTORY/server.key", "/etc/cron.d/evil"), "/etc/cron.d/evil, which is outside of"},
		"a key above":           {instead("$CREDENTIALS_DIRECTORY/server.key", "../evil"), "which is outside of"},
		"a registry elsewhere":  {instead(`"clients"`, `"/root/.ssh/authorized_keys"`), "/root/.ssh/authorized_keys, which is outside of"},
		"state elsewhere":       {instead(h.state, "/etc"), "/etc, which is outside of"},
		"the settings as key":   {instead("$CREDENTIALS_DIRECTORY/server.key", "server.toml"), "give two files the same name"},
		"the next key as psk":   {instead(`"psk"`, `"server.key.next"`), "give two files the same name"},
		"a draft as psk":        {instead(`"psk"`, `"clients.restored"`), "give two files the same name"},
		"a key in the worker's": {instead("$CREDENTIALS_DIRECTORY/server.key", h.state+"/worker/pool/x"), "which is in the folder of its worker"},
	} {
		err := try(c.list)
		require.ErrorContains(t, err, c.says, name)
		require.Empty(t, h.tree(), name)
	}

	// The folder of the settings is another user's, or a link into one.
	if os.Chown(t.TempDir(), 12, 34) == nil {
		require.NoError(t, os.Mkdir(h.dir, 0o755))
		require.NoError(t, os.Chown(h.dir, 12, 34))
		require.ErrorContains(t, try(good), "belongs to user 12")
		require.NoError(t, os.Remove(h.dir))
	}

	// Modes and owners in an archive do not count.
	// (This archive has the first version of the format.)
	list := with(entry{tar.Header{Name: "server/leases", Mode: 0o6777, Uid: 77, Gid: 77, Uname: "games"}, "x"})
	list[2].Mode = 0o666
	require.NoError(t, try(list))
	require.Equal(t, "-rw------- 1", h.tree()["etc/server.key"])
	require.Equal(t, "-rw------- x", h.tree()["var/worker/pool/leases"])
	info, err := os.Lstat(h.path("var/worker/pool/leases"))
	require.NoError(t, err)
	require.Equal(t, os.Geteuid(), atomicfile.OwnerOf(info).UID)
}

// A worker that an attacker has taken over can't have root read other files for it.
func TestHostileWorker(t *testing.T) {
	for _, name := range []string{"var/worker/pool/leases", "var/worker/pool/usage"} {
		h := filled(t)
		h.put("secret/days.1", "secret")
		require.NoError(t, os.RemoveAll(h.path(name)))
		require.NoError(t, os.Symlink(h.path("secret"), h.path(name)))
		_, err := Collect(h.dir, "test")
		require.ErrorContains(t, err, "escapes", name)
	}
	h := filled(t)
	require.NoError(t, os.Remove(h.path("var/worker/pool/seen")))
	require.NoError(t, unix.Mkfifo(h.path("var/worker/pool/seen"), 0o600))
	require.NotContains(t, h.collect().Files, "server/seen")
}

// Only what does not run is restored.
func TestRunning(t *testing.T) {
	h := filled(t)
	a := h.collect()
	o := h.options()
	o.Force = true
	before := h.tree()
	for kind, name := range map[string]string{config.KindServer: "var/worker/pool/leases", config.KindClient: "var/client.lock"} {
		h.put("var/client.lock", "")
		lock, err := atomicfile.OpenLocked(h.path(name))
		require.NoError(t, err)
		_, _, err = a.Restore(o)
		require.ErrorContains(t, err, "a "+kind+" is running on this host")
		require.Contains(t, app.HintOf(err), "systemctl stop stepvpn-"+kind)
		require.Equal(t, before, h.tree())
		require.NoError(t, lock.Close())
	}
}

// So is a server that runs with the settings that are there now, in another folder.
func TestRunningElsewhere(t *testing.T) {
	h := filled(t)
	a := h.collect()
	h.put("etc/server.toml", strings.Replace(h.server(), h.state, h.path("other"), 1))
	h.put("other/worker/pool/leases", "")
	lock, err := atomicfile.OpenLocked(h.path("other/worker/pool/leases"))
	require.NoError(t, err)
	defer lock.Close()
	o := h.options()
	o.Force = true
	before := h.tree()
	_, _, err = a.Restore(o)
	require.ErrorContains(t, err, "a server is running on this host")
	require.Equal(t, before, h.tree())
}

func TestCollectErrors(t *testing.T) {
	h := newHost(t)
	_, err := Collect(h.dir, "test")
	require.EqualError(t, err, "there is nothing to back up: "+h.dir+" has neither server.toml nor client.toml")
	h = filled(t)
	require.NoError(t, os.Remove(h.path("etc/login")))
	_, err = Collect(h.dir, "test")
	require.EqualError(t, err, "the settings of the client name "+h.path("etc/login")+", which does not exist")
}

// Somebody else's age opens the file, and somebody else's tar lists it.
func TestAge(t *testing.T) {
	if _, err := exec.LookPath("age"); err != nil {
		t.Skip("shared/lab/setup.sh age installs it")
	}
	h := filled(t)
	file := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, h.collect().Save(file, passphrase))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.True(t, errors.Is(h.collect().Save(file, passphrase), fs.ErrExist))

	// age reads passphrases from a terminal, which script(1) makes.
	cmd := exec.Command("script", "--quiet", "--return", "--command", fmt.Sprintf("age -d -o %s.tar %s", file, file), "/dev/null")
	cmd.Stdin = strings.NewReader(passphrase + "\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("tar", "-tf", file+".tar").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, strings.Fields(`manifest.json client/client.toml client/key client/login client/server-keys server/asked server/audit.log server/audit.log.1 server/clients
		server/clients.psk server/key server/key.next server/leases server/psk server/seen server/server.toml server/usage/days.1
		server/usage/seconds.7 server/used server/wireguard.key`), strings.Fields(string(out)))
	a, err := Load(file, passphrase)
	require.NoError(t, err)
	require.Equal(t, "10", string(a.Files["server/leases"]))
}

// FuzzUnpack reads a tar file, and finds out where its files would go.
func FuzzUnpack(f *testing.F) {
	server := "kind = \"server\"\nkey_file = \"k\"\nclients_file = \"c\"\nsubnets = [\"10.8.0.1/24\"]\nstate = \"/fuzz/var\"\n"
	f.Add(pack(f, manifest(1), entry{tar.Header{Name: "server/server.toml"}, server}, entry{tar.Header{Name: "server/key"}, "1"}, entry{tar.Header{Name: "server/clients"}, "2"}))
	f.Add(pack(f, manifest(1), entry{tar.Header{Name: "../x"}, "1"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := unpack(bytes.NewReader(text))
		if err != nil {
			return
		}
		o := Options{Dir: "/fuzz/etc", Allow: []string{"/fuzz/var"}}
		parts, err := a.parts(o)
		if err != nil {
			return
		}
		for _, p := range parts {
			for _, path := range p.places() {
				if clean := filepath.Clean(path); !strings.HasPrefix(clean, "/fuzz/etc/") && !strings.HasPrefix(clean, "/fuzz/var/") {
					t.Fatalf("it would write %s", path)
				}
			}
		}
	})
}
