package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, before)
	for _, trust := range []Trust{Follow, NoFollow, Ours} {
		data, info, err := Read(path, len(before), trust)
		require.NoError(t, err)
		require.Equal(t, before, string(data))
		require.EqualValues(t, len(before), info.Size())

		_, _, err = Read(path, len(before)-1, trust)
		require.ErrorIs(t, err, ErrTooLarge)
		require.EqualError(t, err, path+" has more than 6 bytes")
		_, _, err = Read(path+"2", 1, trust)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, info, err = Read(dir, 100, trust)
		require.ErrorIs(t, err, ErrNotRegular)
		require.EqualError(t, err, dir+" is not a regular file")
		require.True(t, info.IsDir())
		_, _, err = Read("/dev/zero", 100, trust)
		require.ErrorIs(t, err, ErrNotRegular)
	}

	require.NoError(t, os.Symlink("f", dir+"/link"))
	data, _, err := Read(dir+"/link", 100, Follow)
	require.NoError(t, err)
	require.Equal(t, before, string(data))
	for _, trust := range []Trust{NoFollow, Ours} {
		_, _, err := Read(dir+"/link", 100, trust)
		require.ErrorIs(t, err, unix.ELOOP)
	}

	// Nobody writes to the pipe: Read must not wait.
	require.NoError(t, unix.Mkfifo(dir+"/pipe", 0o600))
	_, _, err = Read(dir+"/pipe", 100, Follow)
	require.ErrorIs(t, err, ErrNotRegular)
}

func TestOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, before)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, alone(info, os.Geteuid()))
	require.False(t, alone(info, os.Geteuid()+1)) // not every root may give files away
	for mode, ours := range map[fs.FileMode]bool{0o600: true, 0o644: true, 0o620: false, 0o602: false, 0o666: false} {
		require.NoError(t, os.Chmod(path, mode))
		_, _, err := Read(path, 100, Ours)
		l, lockErr := OpenLocked(path)
		if ours {
			require.NoError(t, err)
			require.NoError(t, lockErr)
			require.NoError(t, l.Close())
			continue
		}
		for _, err := range []error{err, lockErr} {
			require.ErrorIs(t, err, ErrNotOurs)
			require.EqualError(t, err, path+" is not ours alone")
		}
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for range 2 {
		require.NoError(t, MakeFolder(dir))
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	require.ErrorIs(t, MakeFolder(dir+"/a/b"), fs.ErrNotExist)

	f, err := OpenFolder(dir, NoFollow)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Symlink("state", dir+"2"))
	_, err = OpenFolder(dir+"2", NoFollow)
	require.EqualError(t, err, "open "+dir+"2: not a directory")
	f, err = OpenFolder(dir+"2", Follow)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Chmod(dir, 0o777))
	for _, trust := range []Trust{Follow, NoFollow} {
		_, err = OpenFolder(dir, trust)
		require.EqualError(t, err, dir+" is not ours alone")
	}
	put(t, dir+"/f", "")
	_, err = OpenFolder(dir+"/f", NoFollow)
	require.ErrorIs(t, err, unix.ENOTDIR)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	l, err := OpenLocked(path)
	require.NoError(t, err)
	require.Equal(t, path, l.Name())
	data, err := l.Read(0)
	require.NoError(t, err)
	require.Empty(t, data)
	for range 3 { // each Write locks a file of its own
		_, err = OpenLocked(path)
		require.ErrorIs(t, err, ErrLocked)
		require.NoError(t, l.Write([]byte(after)))
		require.Equal(t, after, content(t, path))
		data, err = l.Read(100)
		require.NoError(t, err)
		require.Equal(t, after, string(data))
	}
	_, err = l.Read(5)
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, l.Close())
	requireOnly(t, dir, "f")
	l, err = OpenLocked(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	require.NoError(t, os.Symlink("f", dir+"/link"))
	_, err = OpenLocked(dir + "/link")
	require.ErrorIs(t, err, unix.ELOOP)
	require.NoError(t, unix.Mkfifo(dir+"/pipe", 0o600))
	_, err = OpenLocked(dir + "/pipe")
	require.ErrorIs(t, err, ErrNotRegular)
}

// A program that opened the file while its holder replaced it has a lock on a file that is
// not there any more.
func TestLockOfTheFileBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	first, err := OpenLocked(path)
	require.NoError(t, err)
	stale, err := os.Open(path)
	require.NoError(t, err)
	defer stale.Close()
	require.NoError(t, first.Write([]byte(after)))
	require.NoError(t, Lock(stale, 0))
	require.False(t, isAt(stale, path))
	_, err = OpenLocked(path)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, first.Close())
}

func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, before)
	require.NoError(t, os.Chmod(path, 0o604))
	info, err := os.Stat(path)
	require.NoError(t, err)
	for _, c := range [][2]string{{before, after}, {after, before}, {before, ""}, {"", after}} {
		require.NoError(t, Overwrite(path, []byte(c[0]), []byte(c[1]), Options{}))
		require.Equal(t, c[1], content(t, path))
	}
	now, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(info, now))
	require.Equal(t, info.Mode(), now.Mode())

	for _, from := range []string{before, "", after + "#", after[1:]} {
		require.ErrorIs(t, Overwrite(path, []byte(from), nil, Options{}), ErrChanged)
	}
	require.NoError(t, os.Symlink("f", dir+"/link"))
	require.ErrorIs(t, Overwrite(dir+"/link", []byte(after), nil, Options{}), unix.ELOOP)
	require.Equal(t, after, content(t, path))
}

// A file that is a mount can't be replaced by a rename. It can be overwritten.
func TestOverwriteABindMount(t *testing.T) {
	needNamespaces(t)
	dir := t.TempDir()
	put(t, dir+"/real", before)
	put(t, dir+"/f", "below")
	require.NoError(t, unix.Mount(dir+"/real", dir+"/f", "", unix.MS_BIND, ""))
	defer unix.Unmount(dir+"/f", unix.MNT_DETACH)
	require.ErrorIs(t, Write(dir+"/f", []byte(after), Options{}), unix.EBUSY)
	requireOnly(t, dir, "f", "real")
	require.NoError(t, Overwrite(dir+"/f", []byte(before), []byte(after), Options{}))
	require.Equal(t, after, content(t, dir+"/real"))
}

// Torn recognizes the file that Overwrite leaves when it is killed after any byte, and no
// other file.
func TestTorn(t *testing.T) {
	const one, other = "search cafe.example\nnameserver 198.51.100.1\n", "nameserver 10.8.0.1\nnameserver fd00:8::1\noptions edns0\n"
	texts := []string{"", "a", one, other, strings.Repeat("nameserver 10.8.0.1\n", 9)}
	for _, from := range texts {
		for _, to := range texts {
			for k := range len(to) + 1 {
				now := to[:k]
				if k < len(from) {
					now += from[k:]
				}
				require.True(t, Torn([]byte(now), []byte(from), []byte(to)), "%q", now)
				if from != to {
					require.False(t, Torn([]byte(now+"#"), []byte(from), []byte(to)) && !strings.HasPrefix(to, now+"#"))
				}
			}
		}
	}
	require.False(t, Torn([]byte("nameserver 192.0.2.1\n"), []byte(one), []byte(other)))
	require.False(t, Torn(nil, []byte(one), []byte(other)))
	require.False(t, Torn([]byte(one[1:]), []byte(one), []byte(other)))
}

// The error about a file of our own does not contain its name.
func TestReadOwn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	_, err := ReadOwn(name, 3)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte("abc"), 0o600))
	data, err := ReadOwn(name, 3)
	require.NoError(t, err)
	require.Equal(t, "abc", string(data))
	_, err = ReadOwn(name, 2)
	require.EqualError(t, err, "it is larger than 2 bytes")
	_, err = ReadOwn(filepath.Dir(name), 3)
	require.EqualError(t, err, "it is not ours alone")
	require.NoError(t, os.Chmod(name, 0o666))
	_, err = ReadOwn(name, 3)
	require.EqualError(t, err, "it is not ours alone")
}
