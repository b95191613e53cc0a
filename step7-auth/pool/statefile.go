package pool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// A statefile is the file of one pool, locked for as long as the pool is open. A
// new version is written beside it, as a draft, and takes its place in one move:
// a reader, or who looks after a crash, finds the old or the new one, whole.
//
// The lock (flock(2)) is on the file itself, and the draft is locked before it
// takes over. So no other file is needed, and the lock goes with the process.
type statefile struct {
	name string
	file *os.File // holds the lock
}

// openState locks a state file and reads it.
func openState(name string) (*statefile, state, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, state{}, err
	}
	if err := folder(filepath.Dir(name)); err != nil {
		return nil, state{}, err
	}
	// The one who had the lock may have replaced the file in between.
	const tries = 10
	for range tries {
		f, err := lockFile(name)
		if err != nil {
			return nil, state{}, err
		}
		if !isAt(f, name) {
			f.Close()
			continue
		}
		s, err := read(f)
		if err != nil {
			f.Close()
			return nil, state{}, err
		}
		return &statefile{name, f}, s, nil
	}
	return nil, state{}, inUse(name)
}

// folder makes a folder, if need be, and makes sure that nobody else could have
// put a state there.
func folder(name string) error {
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return app.Hint(fmt.Errorf("a folder for the leases: %w", err), "Choose a place in a folder that exists and that you may write to.")
	}
	dir, err := os.OpenFile(name, unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("a folder for the leases: %w", err)
	}
	defer dir.Close()
	return checkOurs(dir)
}

// checkOurs makes sure that nobody else could have written a file, or in a folder.
func checkOurs(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !alone(info, os.Geteuid()) {
		return app.Hint(fmt.Errorf("%s is not ours alone", f.Name()),
			"Others may write there, and so take the addresses of clients. Choose another place, or see to its owner and mode.")
	}
	return nil
}

// alone reports whether a file can be written by nobody but a user (and root).
func alone(info fs.FileInfo, user int) bool {
	return int(info.Sys().(*syscall.Stat_t).Uid) == user && info.Mode().Perm()&0o022 == 0
}

// lockFile opens a state file, and makes an empty one if there is none.
func lockFile(name string) (*os.File, error) {
	// O_NONBLOCK: opening a named pipe must not hang.
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the file of leases: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err == nil {
		err = checkOurs(f)
	}
	if err == nil {
		err = flock(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return inUse(f.Name())
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return nil
}

func inUse(name string) error {
	return app.Hint(fmt.Errorf("the file of leases %s is in use by another server", name),
		"Stop that server, or give this one another file.")
}

// isAt reports whether f is the file that name leads to.
func isAt(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(opened, there)
}

// read reads a state. One that is damaged it copies aside, and returns an empty
// one.
func read(f *os.File) (state, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxStateSize+1))
	if err != nil {
		return state{}, err
	}
	s, damage := parseState(string(text))
	if damage == nil {
		return s, nil
	}
	aside := f.Name() + ".damaged"
	if err := os.Rename(f.Name(), aside); err != nil {
		return state{}, fmt.Errorf("the file of leases %s is damaged (%w), and can't be put aside: %w", f.Name(), damage, err)
	}
	slog.Warn("the file of leases is damaged and was put aside; clients may get other addresses than before",
		"file", f.Name(), "damage", damage, "now", aside)
	return state{}, nil
}

// write replaces the state. When it returns, the new one will survive a power
// failure. After an error the old one is in place.
func (s *statefile) write(text string) error {
	draft := s.name + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, text); err != nil {
		f.Close()
		os.Remove(draft)
		return err
	}
	if err := os.Rename(draft, s.name); err != nil {
		f.Close()
		os.Remove(draft)
		return err
	}
	s.file.Close() // unlocks what is not there any more
	s.file = f
	return syncFolder(filepath.Dir(s.name))
}

func fill(f *os.File, text string) error {
	if err := flock(f); err != nil {
		return err
	}
	if err := f.Chmod(0o600); err != nil { // a umask can take bits from OpenFile's mode
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// syncFolder makes the names in a folder survive a power failure.
func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// close unlocks the state.
func (s *statefile) close() error { return s.file.Close() }
