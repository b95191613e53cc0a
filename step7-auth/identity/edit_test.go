package identity

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

var june = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// write makes a registry.
func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(withKeys(text)), 0o600))
}

func contents(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestEdit(t *testing.T) {
	hash := must[*PasswordHash](t)(ParsePasswordHash(somePHC))
	add := func(name string) func(*Draft) error {
		return func(d *Draft) error { return d.Add(testClient(name)) }
	}
	password := func(name string, h *PasswordHash) func(*Draft) error {
		return func(d *Draft) error { return d.SetPassword(name, h) }
	}
	revoke := func(d *Draft) error { return d.Revoke("bob", june) }
	expire := func(at time.Time) func(*Draft) error {
		return func(d *Draft) error { return d.SetExpiry("bob", at) }
	}
	rename := func(to string) func(*Draft) error {
		return func(d *Draft) error { return d.Rename("bob", to) }
	}
	const gone = "# revoked 2026-06-01T12:00:00Z: "
	for _, tt := range []struct {
		name         string
		change       func(*Draft) error
		before, want string
	}{
		{"add", add("bob"), "# x\nalice KEY(alice)\n", "# x\nalice KEY(alice)\nbob KEY(bob)\n"},
		{"add to nothing", add("bob"), "", "bob KEY(bob)\n"},
		{"add behind a line without an end", add("bob"), "alice KEY(alice)", "alice KEY(alice)\nbob KEY(bob)\n"},
		{"set", password("bob", hash), "bob KEY(bob)", "bob KEY(bob) password=" + somePHC},
		{"set, with options", password("bob", hash), "bob KEY(bob)  addr=10.8.0.7\n", "bob KEY(bob)  addr=10.8.0.7 password=" + somePHC + "\n"},
		{"set, with a comment", password("bob", hash), "bob\tKEY(bob)  # password=x\r\n#\n", "bob\tKEY(bob) password=" + somePHC + "  # password=x\r\n#\n"},
		{"set another", password("bob", hash), " bob KEY(bob)  password=$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA\taddr=fd00::7 #",
			" bob KEY(bob)  password=" + somePHC + "\taddr=fd00::7 #"},
		{"delete", password("bob", nil), "bob KEY(bob)  password=" + somePHC + "\taddr=fd00::7 #\n", "bob KEY(bob)\taddr=fd00::7 #\n"},
		{"delete the last", password("bob", nil), "bob KEY(bob)\taddr=fd00::7 password=" + somePHC + "\r\n", "bob KEY(bob)\taddr=fd00::7\r\n"},
		{"delete none", password("bob", nil), "bob   KEY(bob) # password=\n", "bob   KEY(bob) # password=\n"},
		{"expire", expire(june), "bob KEY(bob) addr=10.8.0.7 # his phone\n", "bob KEY(bob) addr=10.8.0.7 expires=2026-06-01T12:00:00Z # his phone\n"},
		{"expire later", expire(june), "bob KEY(bob)  expires=2026-01-01\taddr=10.8.0.7\r\n", "bob KEY(bob)  expires=2026-06-01T12:00:00Z\taddr=10.8.0.7\r\n"},
		{"never expire", expire(time.Time{}), "bob KEY(bob)  expires=2026-01-01\taddr=10.8.0.7 # expires=x", "bob KEY(bob)\taddr=10.8.0.7 # expires=x"},
		{"rename", rename("robert"), "  bob KEY(bob) # bob\nbobby KEY(bobby)\n", "  robert KEY(bob) # bob\nbobby KEY(bobby)\n"},
		{"rename to the same", rename("bob"), "bob KEY(bob)\n", "bob KEY(bob)\n"},
		{"revoke", revoke, "alice KEY(alice)\nbob KEY(bob) addr=10.8.0.7 # his phone\ncarol KEY(carol)",
			"alice KEY(alice)\n" + gone + "bob KEY(bob) addr=10.8.0.7 # his phone\ncarol KEY(carol)"},
		{"revoke one with a password", revoke, "  bob KEY(bob) password=" + somePHC + " expires=2030-01-01\r\n", gone + "  bob KEY(bob) expires=2030-01-01\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "clients")
			write(t, path, tt.before)
			require.NoError(t, Edit(path, tt.change))
			require.Equal(t, withKeys(tt.want), contents(t, path))
			_, err := Load(path)
			require.NoError(t, err)
		})
	}
}

func TestRevoked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	write(t, path, "bob KEY(bob)\nbobby KEY(bobby)\n")
	require.NoError(t, Edit(path, func(d *Draft) error {
		_, was := d.Revoked("bob")
		require.False(t, was)
		require.NoError(t, d.Revoke("bob", june))
		require.NoError(t, d.Add(testClient("bob")), "he may come back, even with the same key")
		require.NoError(t, d.Revoke("bob", june.AddDate(0, 0, 1)))
		when, was := d.Revoked("bob")
		require.True(t, was)
		require.Equal(t, "2026-06-02T12:00:00Z", when)
		_, was = d.Revoked("bobby")
		require.False(t, was)
		return nil
	}))
}

func TestEditRefuses(t *testing.T) {
	add := func(line string) func(*Draft) error {
		return func(d *Draft) error { return d.Add(must[*Client](t)(parseLine(withKeys(line)))) }
	}
	revoke := func(name string) func(*Draft) error {
		return func(d *Draft) error { return d.Revoke(name, june) }
	}
	long := "long KEY(long)" + strings.Repeat(" ", 900)
	for _, tt := range []struct {
		change func(*Draft) error
		want   string
	}{
		{add("alice KEY(x)"), "there is a client alice already (FILE:2)"},
		{add("x KEY(alice)"), "the public key is that of alice already (FILE:2): each client needs a key of its own"},
		{add("x KEY(x) addr=10.8.0.9,fd00::7"), "the address fd00::7 is that of alice already (FILE:2)"},
		{func(d *Draft) error { return d.Add(&Client{Name: "a b"}) }, `"a b" is not a valid name: use up to 63 letters (a-z, A-Z), digits and . _ @ -, not starting with . or -`},
		{revoke("alcie"), `there is no client "alcie"`},
		{revoke("Alice"), `there is no client "Alice"`},
		{revoke("zoe"), `there is no client "zoe"`},
		{revoke(""), `there is no client ""`},
		{func(d *Draft) error { return d.SetExpiry("zoe", june) }, `there is no client "zoe"`},
		{func(d *Draft) error { return d.Rename("zoe", "x") }, `there is no client "zoe"`},
		{func(d *Draft) error { return d.Rename("alice", "long") }, "there is a client long already (FILE:3)"},
		{func(d *Draft) error { return d.Rename("alice", "a b") }, `"a b" is not a valid name: use up to 63 letters (a-z, A-Z), digits and . _ @ -, not starting with . or -`},
		{func(d *Draft) error { return d.SetPassword("zoe", nil) }, `there is no client "zoe"`},
		{func(d *Draft) error { return d.SetPassword("long", hashPassword("x", cheap)) }, "FILE:3: the line has more than 1024 bytes"},
		{func(d *Draft) error { require.NoError(t, d.Revoke("alice", june)); return fmt.Errorf("no, wait") }, "no, wait"},
	} {
		path := filepath.Join(t.TempDir(), "clients")
		write(t, path, "#\nalice KEY(alice) addr=10.8.0.7,fd00::7\n"+long+"#")
		before := contents(t, path)
		info := must[fs.FileInfo](t)(os.Stat(path))
		require.EqualError(t, Edit(path, tt.change), strings.ReplaceAll(tt.want, "FILE", path))
		require.Equal(t, before, contents(t, path))
		require.True(t, os.SameFile(info, must[fs.FileInfo](t)(os.Stat(path))))
		requireOnly(t, path)
	}

	path := filepath.Join(t.TempDir(), "clients")
	require.EqualError(t, Edit(path, revoke("alice")), "there is no registry "+path)
	require.NoFileExists(t, path)
	write(t, path, "alice KEY(alice)\n???\n")
	require.ErrorContains(t, Edit(path, revoke("alice")), path+`:2: "???" is not a valid name`)
	missing := filepath.Join(t.TempDir(), "no", "folder")
	require.EqualError(t, Edit(missing, add("x KEY(x)")), "open "+filepath.Dir(missing)+": no such file or directory")
}

// requireOnly fails unless the file is alone in its folder.
func requireOnly(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, filepath.Base(path), entries[0].Name())
}

func TestEditKeepsModeAndOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: other groups are not tried")
	}
	add := func(d *Draft) error { return d.Add(testClient("bob")) }
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o644, 0o400} {
		path := filepath.Join(t.TempDir(), "clients")
		write(t, path, "alice KEY(alice)\n")
		require.NoError(t, os.Chmod(path, mode))
		if os.Getuid() == 0 {
			require.NoError(t, os.Chown(path, -1, 34))
		}
		before := must[fs.FileInfo](t)(os.Stat(path))
		require.NoError(t, Edit(path, add))
		after := must[fs.FileInfo](t)(os.Stat(path))
		require.Equal(t, mode, after.Mode())
		owner := func(i fs.FileInfo) [2]uint32 {
			s := i.Sys().(*syscall.Stat_t)
			return [2]uint32{s.Uid, s.Gid}
		}
		require.Equal(t, owner(before), owner(after))
		requireOnly(t, path)
	}

	// A new one.
	path := filepath.Join(t.TempDir(), "clients")
	require.NoError(t, Edit(path, add))
	require.Equal(t, fs.FileMode(0o600), must[fs.FileInfo](t)(os.Stat(path)).Mode())
	require.Equal(t, NewText+testClient("bob").text()+"\n", contents(t, path))

	// A link stays one, and the file stays where it is.
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(path, link))
	require.NoError(t, Edit(link, func(d *Draft) error { return d.Add(testClient("carol")) }))
	require.Contains(t, contents(t, path), "carol")
	requireOnly(t, path)
	requireOnly(t, link)
	require.Equal(t, fs.ModeSymlink, must[fs.FileInfo](t)(os.Lstat(link)).Mode().Type())
	require.NoError(t, os.Remove(path))
	require.EqualError(t, Edit(link, add), link+" is a symbolic link to a file that does not exist")
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "clients")
	_, err := Load(path)
	require.EqualError(t, err, "there is no registry "+path)
	for _, mode := range []fs.FileMode{0o602, 0o620, 0o666, 0o777} {
		write(t, path, "alice KEY(alice)")
		require.NoError(t, os.Chmod(path, mode))
		want := fmt.Sprintf("registry %s may be written by users other than its owner (mode %#o)", path, mode)
		_, err := Load(path)
		require.EqualError(t, err, want)
		require.EqualError(t, Edit(path, func(*Draft) error { t.Fatal("it was read"); return nil }), want)
		require.NoError(t, os.Remove(path))
	}
	_, err = Load(dir)
	require.EqualError(t, err, dir+" is not a regular file")
	_, err = Load("/dev/zero")
	require.EqualError(t, err, "/dev/zero is not a regular file")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err = Load(path)
	require.EqualError(t, err, path+" is not a regular file")
	require.NoError(t, os.Remove(path))
	write(t, path, "")
	require.NoError(t, os.Truncate(path, MaxFile+1))
	_, err = Load(path)
	require.EqualError(t, err, path+" has more than 16777216 bytes")
	write(t, path, "")
	r, err := Load(path)
	require.NoError(t, err)
	require.Zero(t, r.Len())
}

func TestNearest(t *testing.T) {
	r := registry(t, "alice KEY(a)", "bob KEY(b)", "carol-laptop KEY(c)", "bobo KEY(d)")
	for name, want := range map[string]string{
		"alcie": "alice", "Alice": "alice", "ALICE": "alice", "bo": "bob", "bobx": "bob", "boboo": "bobo",
		"carol-lptop": "carol-laptop", "carol": "", "zebra": "",
	} {
		require.Equal(t, want, r.nearest(name), name)
		_, err := r.Find(name)
		require.EqualError(t, err, fmt.Sprintf("there is no client %q", name))
	}
}

// A random sequence of edits changes nothing but what it says, byte by byte.
func TestRandomEdits(t *testing.T) {
	hashes := []*PasswordHash{hashPassword("a", cheap), hashPassword("b", cost{16, 2, 2}), nil}
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 7))
		lines, clients := randomRegistry(rng)
		d := &Draft{file: "clients"}
		require.NoError(t, d.set(strings.Join(lines, "\n")), "seed %d", seed)
		for step := range 40 {
			at := func() string { return fmt.Sprintf("seed %d, step %d", seed, step) }
			if len(clients) == 0 || rng.IntN(4) == 0 {
				name := fmt.Sprintf("new%d", step)
				require.NoError(t, d.Add(testClient(name)), at())
				if last := len(lines) - 1; lines[last] == "" {
					lines[last] = testClient(name).text()
				} else {
					lines = append(lines, testClient(name).text())
				}
				lines = append(lines, "")
				clients = append(clients, name)
			} else {
				i := rng.IntN(len(clients))
				name := clients[i]
				c, ok := d.ByName(name)
				require.True(t, ok, at())
				n := c.Line - 1
				if rng.IntN(3) == 0 {
					require.NoError(t, d.Revoke(name, june), at())
					clients = append(clients[:i], clients[i+1:]...)
					lines[n] = revoked + "2026-06-01T12:00:00Z: " + withoutPassword(lines[n])
				} else {
					h := hashes[rng.IntN(len(hashes))]
					require.NoError(t, d.SetPassword(name, h), at())
					now := strings.Split(d.text, "\n")[n]
					require.Equal(t, withoutPassword(lines[n]), withoutPassword(now), at())
					edited := *c
					edited.Password = h
					is, _ := d.ByName(name)
					require.True(t, same(&edited, is), at())
					lines[n] = now
				}
			}
			require.Equal(t, strings.Join(lines, "\n"), d.text, at())
			require.Equal(t, len(clients), d.Len(), at())
		}
	}
}

// withoutPassword is what the test knows about editing a line, by other means
// than the program's.
func withoutPassword(line string) string {
	before, comment, found := strings.Cut(line, "#")
	if found {
		comment = "#" + comment
	}
	if i := strings.Index(before, "password="); i >= 0 {
		end := i + strings.IndexAny(before[i:]+" ", " \t\r")
		before = strings.TrimRight(before[:i], " \t") + before[end:]
	}
	return before + comment
}

// randomRegistry returns lines of all kinds, and the names of the clients.
func randomRegistry(rng *rand.Rand) (lines, names []string) {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	blank := func() string { return one(" ", "\t", "  ", " \t ") }
	for i := range 1 + rng.IntN(12) {
		end := one("", "", "\r", " ", "\t# a comment", " #", "  # password=x \t ", " # ünïcode\r")
		switch rng.IntN(3) {
		case 0:
			lines = append(lines, one("", "  ", "# a comment", "\t#", "#alice KEY", "# revoked yesterday: old", "\r"))
		default:
			name := fmt.Sprintf("client%d", i)
			line := one("", " ", "\t") + name + blank() + noise.FormatKey(testKey(name))
			options := []string{
				"", fmt.Sprintf("addr=10.8.0.%d", i+1), "expires=2030-01-01", "password=" + somePHC,
			}
			rng.Shuffle(len(options), func(a, b int) { options[a], options[b] = options[b], options[a] })
			for _, o := range options[:rng.IntN(len(options)+1)] {
				line += blank() + o
			}
			lines, names = append(lines, line+end), append(names, name)
		}
	}
	if rng.IntN(2) == 0 {
		lines = append(lines, "")
	}
	return lines, names
}

// startAdding starts a process that adds clients, and returns its output.
func startAdding(t *testing.T, path, prefix string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+path+" "+prefix)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// If several processes and goroutines add clients at the same time, none is lost.
func TestEditsAtTheSameTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	write(t, path, "# a comment\n")
	var all sync.WaitGroup
	for p := range 3 {
		cmd, out := startAdding(t, path, fmt.Sprintf("process%d-", p))
		all.Go(func() {
			for out.Scan() {
			}
			require.NoError(t, cmd.Wait())
		})
	}
	for g := range 2 {
		all.Go(func() { require.NoError(t, addManyQuietly(path, fmt.Sprintf("goroutine%d-", g))) })
	}
	all.Wait()
	r, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, 5*added, r.Len())
	require.True(t, strings.HasPrefix(contents(t, path), "# a comment\n"))
	requireOnly(t, path)
}

func addManyQuietly(path, prefix string) error {
	for i := range added {
		if err := Edit(path, func(d *Draft) error { return d.Add(testClient(fmt.Sprint(prefix, i))) }); err != nil {
			return err
		}
	}
	return nil
}

// Nothing can be written, as on a full disk: no file may be longer than 0 bytes.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	write(t, path, "alice KEY(alice)\n")
	cmd := exec.Command("bash", "-c", `ulimit -f 0; exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+path+" c")
	out, err := cmd.Output()
	require.ErrorAs(t, err, new(*exec.ExitError))
	line, _, _ := strings.Cut(string(out), "\n")
	require.Equal(t, "write "+path+": file too large", line)
	require.Equal(t, withKeys("alice KEY(alice)\n"), contents(t, path))
	requireOnly(t, path)
}

func BenchmarkLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "clients")
	write(b, path, manyClients(10_000))
	for b.Loop() {
		if _, err := Load(path); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkByKey(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, err := Parse("clients", manyClients(n))
			require.NoError(b, err)
			key := testKey("0")
			for b.Loop() {
				r.ByKey(key)
			}
		})
	}
}

// A registry, or a client's file, of an editor of Windows is read, and edited like others.
func TestTextOfWindows(t *testing.T) {
	const mark = "\ufeff"
	path := filepath.Join(t.TempDir(), "clients")
	key := noise.GenerateKey().Public()
	require.NoError(t, os.WriteFile(path, []byte(mark+"alice "+noise.FormatKey(key)+"\r\n"), 0o600))
	require.NoError(t, Edit(path, func(d *Draft) error { return d.Revoke("alice", time.Now()) }))
	require.NoError(t, Edit(path, func(d *Draft) error { return d.Add(&Client{Name: "alice", Key: key}) }))
	r, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, 1, r.Len())

	p := &Profile{Server: "a:1", PrivateKey: noise.GenerateKey()}
	read, err := ParseProfile("f", mark+strings.ReplaceAll(p.Text(), "\n", "\r\n"))
	require.NoError(t, err)
	require.Equal(t, p, read)
}
