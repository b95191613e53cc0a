package keyfile

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/app"
)

// The test binary is also a program that reads, or makes, a key file and does
// nothing else, so that tests see what a user sees: the hint, too.
func TestMain(m *testing.M) {
	name := os.Getenv("KEYFILE_NAME")
	os.Args[0] = "program"
	switch os.Getenv("KEYFILE_DO") {
	case "read":
		os.Args = os.Args[:1]
		app.Main("", func(context.Context) error { _, err := Read(name); return err })
	case "create":
		os.Args = os.Args[:1]
		app.Main("", func(context.Context) error { return Create(name) })
	}
	os.Exit(m.Run())
}

// run is the shell script that just runs the program.
const run = `exec "$0"`

// program does one thing in a process of its own, started by a shell script, and
// returns what it said and its exit code.
func program(t *testing.T, script, do, name string) (text string, code int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("bash", "-c", script, self)
	cmd.Env = append(os.Environ(), "KEYFILE_DO="+do, "KEYFILE_NAME="+name)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestCreateAndRead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	require.NoError(t, Create(name))
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Len(t, text, 45)

	key, err := Read(name)
	require.NoError(t, err)
	require.Equal(t, string(text), base64.StdEncoding.EncodeToString(key[:])+"\n")

	other := filepath.Join(dir, "other")
	require.NoError(t, Create(other))
	otherKey, err := Read(other)
	require.NoError(t, err)
	require.NotEqual(t, key, otherKey)

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(name, link))
	linkKey, err := Read(link)
	require.NoError(t, err)
	require.Equal(t, key, linkKey)
}

// TestMode tries umasks that would open the file to all, and close it to its owner.
func TestMode(t *testing.T) {
	for _, umask := range []string{"0000", "0022", "0077", "0777"} {
		name := filepath.Join(t.TempDir(), "key")
		text, code := program(t, "umask "+umask+"; "+run, "create", name)
		require.Zero(t, code, text)
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), "umask %s", umask)
		_, err = Read(name)
		require.NoError(t, err)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(name, []byte("precious"), 0o600))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(name, link))
	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), dangling))
	for _, name := range []string{name, link, dangling, dir} {
		text, code := program(t, run, "create", name)
		require.Equal(t, 1, code)
		require.Equal(t, "program: "+name+" exists already, and is left as it is\n"+
			"  Choose another name with -out, or remove the file if nobody uses its key any more.\n", text)
	}
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.NoFileExists(t, filepath.Join(dir, "nothing"))
}

// TestCreateLeavesNothing has the writing itself fail, as on a full disk: no file
// may be longer than 0 bytes.
func TestCreateLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	text, code := program(t, "ulimit -f 0; "+run, "create", name)
	require.Equal(t, 1, code)
	line, _, _ := strings.Cut(text, "\n") // with -cover, its reports fail to be written as well
	require.Equal(t, "program: write "+name+": file too large; no key file is left", line)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestCreateWithoutFolder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "no", "folder")
	text, code := program(t, run, "create", name)
	require.Equal(t, 1, code)
	require.Equal(t, "program: open "+name+": no such file or directory\n"+
		"  Choose a file in a folder that exists and that you may write to.\n", text)
}

func TestReadRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, Size))
	const (
		modeHint   = "If nobody has read it so far, type: chmod 600 FILE. Otherwise make a new key."
		base64Text = "key file FILE does not hold a key in base64"
		base64Hint = "It should be one line of 44 characters."
		sizeHint   = "Copy the whole file from the other side, or make a new key with keygen."
	)
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want, hint string
	}{
		{"others may read", good, 0o644, "key file FILE may be read or changed by users other than its owner (mode 0644)", modeHint},
		{"group may read", good, 0o640, "key file FILE may be read or changed by users other than its owner (mode 0640)", modeHint},
		{"others may write", good, 0o602, "key file FILE may be read or changed by users other than its owner (mode 0602)", modeHint},
		{"empty", "", 0o600, "key file FILE holds 0 bytes, a key has 32", sizeHint},
		{"a line end only", "\n", 0o600, "key file FILE holds 0 bytes, a key has 32", sizeHint},
		{"short", base64.StdEncoding.EncodeToString(make([]byte, 31)), 0o600, "key file FILE holds 31 bytes, a key has 32", sizeHint},
		{"long", base64.StdEncoding.EncodeToString(make([]byte, 33)), 0o600, "key file FILE holds 33 bytes, a key has 32", sizeHint},
		{"cut between groups", good[:20], 0o600, "key file FILE holds 15 bytes, a key has 32", sizeHint},
		{"cut inside a group", good[:21], 0o600, base64Text, base64Hint},
		{"without its padding", good[:43], 0o600, base64Text, base64Hint},
		{"not base64", strings.Repeat("!", 44), 0o600, base64Text, base64Hint},
		{"32 raw bytes", strings.Repeat("\x80", 32), 0o600, base64Text, base64Hint},
		{"two keys", good + "\n" + good, 0o600, base64Text, base64Hint},
		{"another spelling", good[:42] + "B=", 0o600, base64Text, base64Hint},
		{"endless", strings.Repeat(" ", 1<<20), 0o600, base64Text, base64Hint},
		{"a key, and endless", good + strings.Repeat(" ", 1<<20), 0o600, base64Text, base64Hint},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			require.NoError(t, os.WriteFile(file, []byte(tt.text), 0o600))
			require.NoError(t, os.Chmod(file, tt.mode))
			text, code := program(t, run, "read", file)
			require.Equal(t, 1, code)
			require.Equal(t, strings.ReplaceAll("program: "+tt.want+"\n  "+tt.hint+"\n", "FILE", file), text)
		})
	}
}

func TestReadAccepts(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, Size))
	for _, text := range []string{good, good + "\n", good + "\r\n", " " + good + "\n\n"} {
		for _, mode := range []os.FileMode{0o600, 0o400} {
			file := filepath.Join(t.TempDir(), "key")
			require.NoError(t, os.WriteFile(file, []byte(text), mode))
			key, err := Read(file)
			require.NoError(t, err, "%q, mode %o", text, mode)
			require.Equal(t, bytes.Repeat([]byte{7}, Size), key[:])
		}
	}
}

func TestReadOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600)) // nobody writes to it: Read must not wait
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(dir, link))
	missing := filepath.Join(dir, "missing")
	for name, want := range map[string]string{
		dir:         "key file FILE is not a regular file\n  A key file has one line, with the key in base64.\n",
		pipe:        "key file FILE is not a regular file\n  A key file has one line, with the key in base64.\n",
		link:        "key file FILE is not a regular file\n  A key file has one line, with the key in base64.\n",
		"/dev/zero": "key file FILE is not a regular file\n  A key file has one line, with the key in base64.\n",
		missing:     "there is no key file FILE\n  Make one with 'keygen -out FILE', and copy it to the other side.\n",
	} {
		text, code := program(t, run, "read", name)
		require.Equal(t, 1, code)
		require.Equal(t, "program: "+strings.ReplaceAll(want, "FILE", name), text)
	}
}

// TestNotPermitted reads a file that this user may not. Root may read all, as long
// as it has two capabilities, so a test that runs as root drops them.
func TestNotPermitted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	require.NoError(t, Create(name))
	require.NoError(t, os.Chmod(name, 0))
	script := run
	if os.Getuid() == 0 {
		script = `exec setpriv --bounding-set=-dac_override,-dac_read_search "$0"`
	}
	text, code := program(t, script, "read", name)
	require.Equal(t, 1, code)
	require.Equal(t, "program: open "+name+": permission denied\n"+
		"  The file belongs to another user. Run this as that user, or as root.\n", text)
}
