package atomicfile

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOpenLock(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	held, err := OpenLock(name, 0)
	require.NoError(t, err)
	_, err = OpenLock(name, 0)
	require.EqualError(t, err, name+" is locked by another program")
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, held.Close())
	requireOnly(t, dir)
	_, err = OpenLock(filepath.Join(dir, "no", "lock"), time.Hour)
	require.ErrorIs(t, err, unix.ENOENT)

	// Files that others could have put there, and one that a killed program has left.
	for what, leave := range map[string]func() error{
		"left":             func() error { return os.WriteFile(name, nil, 0o600) },
		"others may read":  func() error { return os.WriteFile(name, nil, 0o644) },
		"symlink":          func() error { return os.Symlink("other", name) },
		"pipe":             func() error { return unix.Mkfifo(name, 0o600) },
		"of somebody else": func() error { put(t, name, ""); return chownOr(name, 12) },
	} {
		require.NoError(t, leave(), what)
		held, err := OpenLock(name, time.Minute)
		require.NoError(t, err, what)
		_, err = OpenLock(name, 0)
		require.ErrorIs(t, err, ErrLocked, what)
		require.NoError(t, held.Close(), what)
		requireOnly(t, dir)
	}

	// Root waits for the owner of the folder.
	if chownOr(dir, 12) == nil && os.Geteuid() == 0 {
		f, err := os.OpenFile(name, os.O_CREATE, 0o600)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, chownOr(name, 12))
		require.NoError(t, Lock(f, 0))
		_, err = OpenLock(name, 0)
		require.ErrorIs(t, err, ErrLocked)
		require.FileExists(t, name)
	}
}

// chownOr gives a file away, where this process may.
func chownOr(name string, uid int) error {
	if err := os.Chown(name, uid, -1); err != nil && !os.IsPermission(err) && err.(*os.PathError).Err != unix.EINVAL {
		return err
	}
	return nil
}

// One process at a time has the lock, though the file comes and goes.
func TestOpenLockRace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	var inside, times atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				held, err := OpenLock(name, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two have it")
				}
				times.Add(1)
				inside.Add(-1)
				if err := held.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 400, times.Load())
}
