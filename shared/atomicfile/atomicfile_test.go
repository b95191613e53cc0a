package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// jobVar makes the test binary a program that writes a file once. Its value is
// "JOB@N PATH": it kills itself with SIGKILL when it is about to take the Nth step.
const jobVar = "STEPVPN_TEST_WRITE"

func TestMain(m *testing.M) {
	if value, ok := os.LookupEnv(jobVar); ok {
		if err := child(value); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	netlab.Main(m)
}

const before, after = "before\n", "after, which is longer\n"

func child(value string) error {
	job, path, _ := strings.Cut(value, " ")
	job, at, _ := strings.Cut(job, "@")
	left, err := strconv.Atoi(at)
	if err != nil {
		return err
	}
	o := Options{Trace: func(string, ...any) {
		if left--; left == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it takes effect
		}
	}}
	return jobs[job](path, o)
}

// jobs are all ways to write a file.
var jobs = map[string]func(path string, o Options) error{
	"replace": func(path string, o Options) error { return Write(path, []byte(after), o) },
	"new": func(path string, o Options) error {
		o.Exclusive = true
		return Write(path, []byte(after), o)
	},
	"link": func(path string, o Options) error {
		o.Exclusive, o.rename = true, cannot
		return Write(path, []byte(after), o)
	},
}

// cannot is the rename of a filesystem that can't do it without replacing.
func cannot(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EINVAL}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// requireOnly fails unless these are all the names in the folder.
func requireOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	require.Equal(t, names, list)
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	defer unix.Umask(unix.Umask(0o777)) // it does not matter
	for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o600: 0o600, 0o644: 0o644, 0o400: 0o400} {
		require.NoError(t, Write(path, []byte(after), Options{Mode: mode}))
		require.Equal(t, after, content(t, path))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode())
	}
	require.NoError(t, Write(path, nil, Options{}))
	require.Empty(t, content(t, path))
	requireOnly(t, dir, "f")
}

// The content is synced before the name changes, the folder after it. Anything else
// could lose both the old and the new file in a power failure.
func TestSteps(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var steps []string
	o := Options{Mode: 0o640, Trace: func(format string, args ...any) {
		steps = append(steps, strings.ReplaceAll(fmt.Sprintf(format, args...), path, "F"))
	}}
	require.NoError(t, Write(path, nil, o))
	require.Equal(t, []string{"create F.new", "write F.new", "chmod 640 F.new", "sync F.new", "mv -T F.new F", "sync " + dir}, steps)
	require.NoError(t, os.Remove(path))
	steps, o.Exclusive = nil, true
	require.NoError(t, Write(path, nil, o))
	require.Equal(t, "mv --no-clobber -T F.new F", steps[4])
}

func TestExclusive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, rename := range []func(string, string) error{nil, cannot} {
		o := Options{Exclusive: true, rename: rename}
		require.NoError(t, Write(path, []byte(before), o))
		require.ErrorIs(t, Write(path, []byte(after), o), fs.ErrExist)
		require.ErrorIs(t, Create(path, []byte(after), o), fs.ErrExist)
		require.Equal(t, before, content(t, path))
		require.NoError(t, os.Remove(path))

		// A folder, and a symlink, even one that leads to nothing, are there, too.
		require.ErrorIs(t, Write(dir, nil, o), fs.ErrExist)
		require.NoError(t, os.Symlink("nothing", path))
		require.ErrorIs(t, Write(path, nil, o), fs.ErrExist)
		require.NoError(t, os.Remove(path))

		// Somebody makes the file at the last moment.
		o.Trace = func(format string, args ...any) {
			if strings.HasPrefix(format, "mv") {
				put(t, path, before)
			}
		}
		require.ErrorIs(t, Write(path, []byte(after), o), fs.ErrExist)
		require.Equal(t, before, content(t, path))
		requireOnly(t, dir, "f")
		require.NoError(t, os.Remove(path))
	}
}

// kill -9 before each step: the file is the old one or the new one, and the next Write
// works and leaves nothing else.
func TestKilled(t *testing.T) {
	for job := range jobs {
		t.Run(job, func(t *testing.T) {
			seen := make(map[string]int)
			for n := 1; ; n++ {
				require.Less(t, n, 20)
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				if job == "replace" {
					put(t, path, before)
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s@%d %s", jobVar, job, n, path))
				out, err := cmd.CombinedOutput()
				killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
				require.True(t, err == nil || killed, "%s", out)

				text, err := os.ReadFile(path)
				if err != nil {
					require.ErrorIs(t, err, fs.ErrNotExist)
					require.NotEqual(t, "replace", job)
				}
				seen[string(text)]++
				if !killed {
					require.Equal(t, after, string(text))
					requireOnly(t, dir, "f")
					break
				}
				require.NoError(t, Write(path, []byte("next"), Options{}))
				require.Equal(t, "next", content(t, path))
				requireOnly(t, dir, "f")
			}
			// create, write, chmod, sync, mv; sync of the folder, and the end
			want := map[string]map[string]int{
				"replace": {before: 5, after: 2},
				"new":     {"": 5, after: 2},
				"link":    {"": 6, after: 3}, // ln; rm
			}
			require.Equal(t, want[job], seen)
		})
	}
}

// Anything in the draft's place is removed, and nothing that it leads to changes.
func TestLeftDrafts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for name, leave := range map[string]func() error{
		"part":              func() error { return os.WriteFile(path+".new", []byte("aft"), 0o400) },
		"closed to all":     func() error { return os.WriteFile(path+".new", []byte("aft"), 0) },
		"link to the file":  func() error { return os.Link(path, path+".new") },
		"symlink":           func() error { return os.Symlink("other", path+".new") },
		"symlink to itself": func() error { return os.Symlink("f.new", path+".new") },
		"pipe":              func() error { return unix.Mkfifo(path+".new", 0o600) },
	} {
		put(t, path, before)
		put(t, dir+"/other", "precious")
		require.NoError(t, leave(), name)
		require.NoError(t, Write(path, []byte(after), Options{}), name)
		require.Equal(t, after, content(t, path), name)
		require.Equal(t, "precious", content(t, dir+"/other"), name)
		requireOnly(t, dir, "f", "other")

		require.NoError(t, leave(), name)
		require.NoError(t, RemoveDraft(path), name)
		require.NoError(t, RemoveDraft(path), "there is none")
		requireOnly(t, dir, "f", "other")
	}
	require.NoError(t, os.Mkdir(path+".new", 0o700))
	require.EqualError(t, Write(path, nil, Options{}), "remove "+path+".new: is a directory")
	require.Equal(t, after, content(t, path))
}

// A symlink of this name is replaced. What it led to stays as it is.
func TestWriteOverASymlink(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/other", before)
	require.NoError(t, os.Symlink("other", dir+"/f"))
	require.NoError(t, Write(dir+"/f", []byte(after), Options{}))
	info, err := os.Lstat(dir + "/f")
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	require.Equal(t, before, content(t, dir+"/other"))
}

func TestOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, before)
	if err := os.Chown(path, 12, 34); err != nil { // an ordinary user's namespace has one user only
		err := Write(path, []byte(after), Options{Owner: &Owner{12, 34}})
		require.ErrorContains(t, err, "chown "+path+": ")
		require.Equal(t, before, content(t, path))
		requireOnly(t, dir, "f")
		return
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	owner := OwnerOf(info)
	require.Equal(t, Owner{12, 34}, owner)
	require.NoError(t, Write(path, []byte(after), Options{Owner: &owner, Mode: 0o640}))
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, Owner{12, 34}, OwnerOf(info))
	require.Equal(t, fs.FileMode(0o640), info.Mode())
	require.NoError(t, Write(path, []byte(after), Options{}))
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, Owner{os.Geteuid(), os.Getegid()}, OwnerOf(info))
}

// needNamespaces skips a test that is not run inside namespaces, where mounts are its
// own.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getenv("STEPVPN_SKIP_NETNS") == "1" {
		t.Skip("needs namespaces, and STEPVPN_SKIP_NETNS=1 says to skip")
	}
}

// mounted mounts a small disk.
func mounted(t *testing.T, options string) (dir string) {
	t.Helper()
	needNamespaces(t)
	dir = t.TempDir()
	require.NoError(t, unix.Mount("small", dir, "tmpfs", 0, options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// A disk is full: there is no room for the content, or for one more file. All is as it
// was, and the error tells what could not be done.
func TestFullDisk(t *testing.T) {
	for what, options := range map[string]string{"write": "size=64k", "open": "size=1m,nr_inodes=2"} {
		dir := mounted(t, options)
		path := filepath.Join(dir, "f")
		put(t, path, before)
		large := make([]byte, 100<<10)
		says := what + " " + path + ": no space left on device"
		require.EqualError(t, Write(path, large, Options{}), says)
		require.Equal(t, before, content(t, path))
		for _, err := range []error{
			Write(path+"2", large, Options{Exclusive: true}),
			Create(path+"2", large, Options{}),
		} {
			require.EqualError(t, err, strings.ReplaceAll(says, path, path+"2"))
		}
		requireOnly(t, dir, "f")

		if what == "write" { // Overwrite needs room, too
			require.ErrorIs(t, Overwrite(path, []byte(before), large, Options{}), unix.ENOSPC)
			require.Equal(t, before, content(t, path))

			l, err := OpenLocked(path)
			require.NoError(t, err)
			defer l.Close()
			require.ErrorIs(t, l.Write(large), unix.ENOSPC)
			require.NoError(t, l.Write([]byte(after)), "it goes on")
			requireOnly(t, dir, "f")
		}
	}
}

func TestReadOnlyFolder(t *testing.T) {
	dir := mounted(t, "size=64k")
	path := filepath.Join(dir, "f")
	put(t, path, before)
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	for _, err := range []error{
		Write(path, nil, Options{}),
		Write(path+"2", nil, Options{Exclusive: true}),
		Create(path+"2", nil, Options{}),
		Overwrite(path, []byte(before), nil, Options{}),
		MakeFolder(path + "2"),
	} {
		require.ErrorIs(t, err, unix.EROFS)
		require.NotContains(t, err.Error(), ".new", "a person knows the file")
	}
	require.ErrorIs(t, Write(path, nil, Options{Exclusive: true}), fs.ErrExist, "that is the reason to tell")
	missing := filepath.Join(dir, "no", "f")
	require.EqualError(t, Write(missing, nil, Options{}), "open "+missing+": no such file or directory")
}

// A reader finds a whole file while several processes write; and each of those has written
// or was told that another one does.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, strings.Repeat("0", 10_000))
	var all sync.WaitGroup
	var mu sync.Mutex
	wrote := 0
	for w := range 4 {
		all.Go(func() {
			data := []byte(strings.Repeat(strconv.Itoa(w), 10_000))
			for range 200 {
				err := Write(path, data, Options{})
				if err != nil && !errors.Is(err, ErrLocked) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					wrote++
					mu.Unlock()
				}
				now, err := os.ReadFile(path)
				if err != nil || len(now) != 10_000 || strings.Trim(string(now), string(now[:1])) != "" {
					t.Errorf("%v: %d bytes, %.20q", err, len(now), now)
				}
			}
		})
	}
	all.Wait()
	require.Positive(t, wrote)
	requireOnly(t, dir, "f")
}

// While somebody writes, another one is told so.
func TestWriteWhileAnotherWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var inside []error
	o := Options{Trace: func(format string, args ...any) {
		if !strings.HasPrefix(format, "create") && !strings.HasSuffix(format, "sync "+dir) {
			inside = append(inside, Write(path, []byte(before), Options{}))
		}
	}}
	require.NoError(t, Write(path, []byte(after), o))
	for _, err := range inside[:4] { // write, chmod, sync, mv
		require.EqualError(t, err, path+" is locked by another program")
		require.ErrorIs(t, err, ErrLocked)
	}
	requireOnly(t, dir, "f")
}
