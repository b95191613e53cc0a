package resolvconf

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// A state is the directory of journals, with ours locked.
type state struct {
	path    string // of the file that the journal is about
	dir     string // Config.State
	journal string // path of the journal
	lock    *atomicfile.Locked
}

// openState makes the directory if need be, and locks the journal. Without
// create it returns nil if there is no directory.
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
	name, err := key(c.Path)
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

// key tells the files apart that namespaces have under one path. The host's
// own, and what is mounted, has the same key after a reboot.
func key(path string) (string, error) {
	var stat unix.Stat_t
	mounted, err := isMount(path)
	switch {
	case err == nil && mounted:
		err = unix.Lstat(path, &stat)
		return fmt.Sprintf("resolvconf-file-%d", stat.Ino), err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case hostNetwork():
		return "resolvconf", nil
	}
	err = unix.Stat("/proc/thread-self/ns/net", &stat)
	return fmt.Sprintf("resolvconf-netns-%d", stat.Ino), err
}

// save writes the journal in one move, and returns when it is on the disk.
func (s *state) save(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if _, err := parseJournal(data); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := atomicfile.Write(s.journal, data, atomicfile.Options{Trace: step}); err != nil {
		os.Remove(s.journal)
		return fmt.Errorf("writing the journal, without which nothing is changed: %w", err)
	}
	return nil
}

// remove forgets the journal.
func (s *state) remove() error {
	step("rm %s", s.journal)
	err := os.Remove(s.journal)
	if err == nil {
		err = syncDir(s.dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody was faster
	}
	return err
}

// maxKept bounds what is kept for a person to look at.
const maxKept = 10

// keep saves what was found for a person to look at, and says what it was. Its
// name comes from its content, so that nothing is kept twice; the oldest go.
func (s *state) keep(found snapshot) (was string, err error) {
	switch found.Kind {
	case isAbsent:
		return "there was none", nil
	case isSymlink:
		return fmt.Sprintf("it was a symlink to %q", found.Target), nil
	}
	sum := sha256.Sum256(found.Data)
	name := filepath.Join(s.dir, fmt.Sprintf("resolv.conf-%x", sum[:4]))
	if err := atomicfile.Write(name, found.Data, atomicfile.Options{Trace: step}); err != nil {
		return "", err
	}
	if kept, _ := filepath.Glob(filepath.Join(s.dir, "resolv.conf-*")); len(kept) > maxKept {
		slices.SortFunc(kept, func(a, b string) int { return cmp.Compare(changed(a), changed(b)) })
		os.Remove(kept[0])
	}
	return "it was as in " + name, nil
}

// changed returns when a file was written, for the order.
func changed(name string) int64 {
	info, err := os.Lstat(name)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
