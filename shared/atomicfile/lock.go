package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is in the error about a file that another process, or another part of
// this one, has locked.
var ErrLocked = errors.New("is locked by another program")

// Lock locks an open file or folder (flock(2)), and waits at most so long for it: 0
// tries once. The lock goes when f is closed, or the process ends, however it does.
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

// A Locked is a file that its holder alone reads and replaces. The lock is on the file
// itself; a new version is locked before it takes the place of the old one. So no
// other file is needed; and an empty one will do as a lock for something else. Its
// methods may not be called at the same time.
type Locked struct {
	name string
	f    *os.File
}

// OpenLocked locks a file, and makes an empty one of mode 0600 if there is none. It
// does not wait: if another one holds it, the error is ErrLocked. The file must be
// ours alone. The folder is not synced.
func OpenLocked(name string) (*Locked, error) {
	const tries = 10 // who had the lock may have replaced the file in between
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
	return Lock(f, 0)
}

// Name returns the name that the file was opened by.
func (l *Locked) Name() string { return l.name }

// Read returns the content, as it was when the file was opened or written last.
func (l *Locked) Read(limit int) ([]byte, error) {
	if _, err := l.f.Seek(0, 0); err != nil {
		return nil, err
	}
	return readAll(l.f, limit)
}

// Write replaces the content, as the function Write does, with mode 0600. After an
// error the old one is in place, or the folder can't be synced.
func (l *Locked) Write(data []byte) error {
	var o Options
	f, err := o.place(l.name, data)
	if err != nil {
		return err
	}
	l.f.Close() // unlocks what is not there any more
	l.f = f
	return o.syncFolder(l.name)
}

// Close unlocks the file. It stays: whoever removed it could take away the lock of one
// who has just begun.
func (l *Locked) Close() error { return l.f.Close() }
