package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// This file opens and locks the file of leases. A damaged one is put aside; and where nothing can
// be written (a full or read-only disk), the pool goes on without saving.

// openState locks a state file, for as long as the pool is open, and reads it. Where the
// disk takes no file, there is none to lock.
func openState(name string) (*atomicfile.Locked, state, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, state{}, err
	}
	if err := folder(filepath.Dir(name)); err != nil {
		return nil, state{}, err
	}
	_, missing := os.Lstat(name) // then OpenLocked makes it, empty
	f, err := atomicfile.OpenLocked(name)
	switch {
	case errors.Is(err, atomicfile.ErrLocked):
		return nil, state{}, app.Hint(fmt.Errorf("the file of leases %s is in use by another server", name),
			"Stop that server, or give this one another file.")
	case errors.Is(err, atomicfile.ErrNotOurs):
		return nil, state{}, notOurs(err)
	case diskFails(err):
		return nil, unlocked(name, err), nil
	case err != nil:
		return nil, state{}, fmt.Errorf("the file of leases: %w", err)
	case errors.Is(missing, fs.ErrNotExist):
		return f, state{}, nil
	}
	return f, read(f), nil
}

// folder makes a folder, if need be, and makes sure that nobody else could have
// put a state there. systemd makes a symlink to it.
func folder(name string) error {
	if err := atomicfile.MakeFolder(name); err != nil && !diskFails(err) {
		return app.Hint(fmt.Errorf("a folder for the leases: %w", err), "Choose a place in a folder that exists and that you may write to.")
	}
	kind := atomicfile.Kind{Name: "the folder for the leases"}
	if err := kind.CheckFolders(name); err != nil {
		return err
	}
	dir, err := atomicfile.OpenFolder(name, atomicfile.Follow)
	if errors.Is(err, atomicfile.ErrNotOurs) {
		return notOurs(err)
	}
	if err != nil {
		return fmt.Errorf("a folder for the leases: %w", err)
	}
	return dir.Close()
}

// CheckState says what is wrong with a state file that Open would put aside; having none is
// fine. Step 8 has a command that checks all files before the server starts.
func CheckState(name string) error {
	_, err := readState(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readState reads a state file that a server may be using.
func readState(name string) (state, error) {
	text, _, err := atomicfile.Read(name, maxStateSize, atomicfile.Follow)
	if err != nil {
		return state{}, err
	}
	return parseState(string(text))
}

// diskFails tells whether the disk is full or can't be written, which is no fault of the
// settings.
func diskFails(err error) bool {
	for _, errno := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// unlocked reads a state that can't be saved again, as far as there is one.
func unlocked(name string, why error) state {
	var s state
	text, _, err := atomicfile.Read(name, maxStateSize, atomicfile.Ours)
	if err == nil {
		s, err = parseState(string(text))
	}
	slog.Warn("the leases can't be saved until the server is started anew: clients may get other addresses then",
		"error", why, "read", len(s.records), "cure", "Make room on the disk, or have it mounted so that it can be written.")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("the file of leases can't be read; "+others, "file", name, "error", err)
	}
	return s
}

func notOurs(err error) error {
	return app.Hint(err, "Others may write there, and so take the addresses of clients. Choose another place, or see to its owner and mode.")
}

// read reads a state. One that is damaged it puts aside, and returns an empty one.
func read(f *atomicfile.Locked) state {
	text, damage := f.Read(maxStateSize)
	var s state
	if damage == nil {
		s, damage = parseState(string(text))
	}
	if damage == nil {
		return s
	}
	aside := f.Name() + ".damaged"
	if err := os.Rename(f.Name(), aside); err != nil {
		slog.Warn("the file of leases is damaged, and can't be set aside: "+others, "file", f.Name(), "damage", damage, "error", err)
		return state{}
	}
	slog.Warn("the file of leases is damaged and was put aside; "+others, "file", f.Name(), "damage", damage, "now", aside)
	return state{}
}

const others = "clients may get other addresses than before"
