package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Lock locks an open file or folder (flock(2)). It waits up to the given time for another
// holder of the lock; with 0 it tries once. The lock is released when f is closed, or when
// the process ends, for whatever reason.
func Lock(f *os.File, wait time.Duration) error {
	const pause = 10 * time.Millisecond
	for end := time.Now().Add(wait); ; time.Sleep(pause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		case !time.Now().Before(end):
			return locked(f.Name())
		}
	}
}

// ErrLocked is in the error for a file that another process, or another part of this one,
// has locked.
var ErrLocked = errors.New("is locked by another program")

// OpenLock takes a lock with a name, for programs that edit files beside it. It waits up
// to the given time for another holder of the lock. Close releases it.
//
// A lock on the files themselves, or on their folder, would not do: any user who may open a
// file for reading may lock it and never release it. So the lock is a file of its own, which exists
// only while it is locked, and which nobody else may open. A file of that name that others
// could have made, or may open, is removed.
func OpenLock(name string, wait time.Duration) (*Held, error) {
	const pause = 10 * time.Millisecond
	for end := time.Now().Add(wait); ; time.Sleep(pause) {
		f, err := openPrivate(name)
		if err == nil {
			err = Lock(f, time.Until(end))
			if err == nil && isAt(f, name) {
				return &Held{f}, nil
			}
			f.Close()
		}
		switch {
		case err != nil && !errors.Is(err, ErrLocked):
			return nil, err
		case !time.Now().Before(end):
			return nil, locked(name)
		}
	}
}

// A Held is a lock that OpenLock has taken.
type Held struct{ f *os.File }

// Close releases the lock by removing its file: a process that waits for it finds that the
// file is gone, and makes a new one.
func (h *Held) Close() error { return errors.Join(os.Remove(h.f.Name()), h.f.Close()) }

// openPrivate opens a file that nobody else may open, and makes it if it does not exist.
// In a user's folder there are two legitimate owners, the user and root: if the file
// belongs to the other one, the lock is taken.
func openPrivate(name string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(name, flags|os.O_CREATE|os.O_EXCL, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, locked(name) // it has just been released
	}
	if err != nil {
		return nil, err
	}
	folder, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	owner, user := OwnerOf(info).UID, os.Geteuid()
	theirs := owner == OwnerOf(folder).UID
	private := info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0
	switch {
	case private && (owner == user || user == 0 && theirs):
		f, err := os.OpenFile(name, flags, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, locked(name)
		}
		return f, err
	case private && (owner == 0 || theirs):
		return nil, locked(name)
	}
	if err := unix.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil, locked(name)
}

// A Locked is a file that only its holder reads and replaces. The lock is on the file
// itself: a new version is locked before it takes the place of the old one, so no separate
// lock file is needed. An empty Locked can also serve as a lock for something else. It is
// not safe for concurrent use.
type Locked struct {
	name string
	f    *os.File
}

// OpenLocked locks a file, and makes an empty one of mode 0600 if there is none. It does
// not wait: if another process holds the lock, the error is ErrLocked. The file must be
// ours alone; if others may read it, OpenLocked takes that permission away. The folder is
// not synced.
func OpenLocked(name string) (*Locked, error) {
	const tries = 10 // the holder before may have replaced the file in between
	for range tries {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockOurs(f); err != nil {
			f.Close()
			return nil, err
		}
		if isAt(f, name) {
			return &Locked{name, f}, nil
		}
		f.Close()
	}
	return nil, locked(name)
}

// lockOurs locks a file if it is a regular one of our own.
func lockOurs(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", f.Name(), ErrNotRegular)
	}
	if !alone(info, os.Geteuid()) {
		return fmt.Errorf("%s %w", f.Name(), ErrNotOurs)
	}
	// A user who may read the file may lock it.
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		if err := f.Chmod(mode &^ 0o077); err != nil {
			return err
		}
	}
	return Lock(f, 0)
}

// Name returns the name that the file was opened by.
func (l *Locked) Name() string { return l.name }

// Read returns the content, of at most limit bytes, as it was when the file was opened or
// last written.
func (l *Locked) Read(limit int) ([]byte, error) {
	if _, err := l.f.Seek(0, 0); err != nil {
		return nil, err
	}
	return readAll(l.f, limit)
}

// Write replaces the content, as the function Write does, with mode 0600. After an error
// the old content is in place, unless the error is that the folder can't be synced.
func (l *Locked) Write(data []byte) error {
	var o Options
	f, err := o.place(l.name, data)
	if err != nil {
		return err
	}
	l.f.Close() // unlocks the old file, which has no name any more
	l.f = f
	return o.syncFolder(l.name)
}

// Close unlocks the file, but does not remove it: that could destroy the lock of a process
// that has just taken it.
func (l *Locked) Close() error { return l.f.Close() }
