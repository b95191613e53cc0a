package resolvconf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf/owner"
)

// openState opens the journal's directory, and locks the journal, so that two clients don't
// change one file. With create it makes the directory if there is none; without, it then
// returns nil.
func openState(c Config, create bool) (*state, error) {
	if create {
		if err := atomicfile.MakeFolder(c.State); err != nil {
			return nil, fmt.Errorf("a place for the journal: %w", err)
		}
	}
	dir, err := atomicfile.OpenFolder(c.State, atomicfile.NoFollow)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return nil, nil
	case errors.Is(err, atomicfile.ErrNotOurs):
		return nil, app.Hint(err, "Others may write there. Remove it: sudo rm -r %s", c.State)
	case err != nil:
		return nil, fmt.Errorf("a place for the journal: %w", err)
	}
	dir.Close()
	name, err := owner.Key(c.Path)
	if err != nil {
		return nil, err
	}
	s := &state{path: c.Path, dir: c.State, journal: filepath.Join(c.State, name+".json")}
	lock := filepath.Join(c.State, name+".lock")
	s.lock, err = atomicfile.OpenLocked(lock)
	if errors.Is(err, atomicfile.ErrLocked) {
		return nil, app.Hint(fmt.Errorf("a client runs on this host, and uses %s", c.Path), "Stop it first; it puts back what it changed.")
	}
	if atomicfile.Misplaced(err) {
		err = &Damaged{lock, err}
	}
	if err != nil {
		return nil, fmt.Errorf("a lock for the journal: %w", err)
	}
	return s, nil
}

// close unlocks the journal.
func (s *state) close() error { return s.lock.Close() }
