package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// openState locks a state file, for as long as the pool is open, and reads it.
func openState(name string) (*atomicfile.Locked, state, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, state{}, err
	}
	if err := folder(filepath.Dir(name)); err != nil {
		return nil, state{}, err
	}
	f, err := atomicfile.OpenLocked(name)
	switch {
	case errors.Is(err, atomicfile.ErrLocked):
		return nil, state{}, app.Hint(fmt.Errorf("the file of leases %s is in use by another server", name),
			"Stop that server, or give this one another file.")
	case errors.Is(err, atomicfile.ErrNotOurs):
		return nil, state{}, notOurs(err)
	case err != nil:
		return nil, state{}, fmt.Errorf("the file of leases: %w", err)
	}
	s, err := read(f)
	if err != nil {
		f.Close()
		return nil, state{}, err
	}
	return f, s, nil
}

// folder makes a folder, if need be, and makes sure that nobody else could have
// put a state there. systemd makes a symlink to it.
func folder(name string) error {
	if err := atomicfile.MakeFolder(name); err != nil {
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

// CheckState says what is wrong with a state file that Open would put aside. None is fine.
func CheckState(name string) error {
	text, _, err := atomicfile.Read(name, maxStateSize, atomicfile.Follow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = parseState(string(text))
	}
	return err
}

func notOurs(err error) error {
	return app.Hint(err, "Others may write there, and so take the addresses of clients. Choose another place, or see to its owner and mode.")
}

// read reads a state. One that is damaged it puts aside, and returns an empty one.
func read(f *atomicfile.Locked) (state, error) {
	text, damage := f.Read(maxStateSize)
	if damage != nil && !errors.Is(damage, atomicfile.ErrTooLarge) {
		return state{}, damage
	}
	var s state
	if damage == nil {
		s, damage = parseState(string(text))
	}
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
