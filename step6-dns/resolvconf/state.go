package resolvconf

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// A state is the directory of journals, with ours locked.
type state struct {
	path    string   // of the file that the journal is about
	dir     string   // Config.State
	journal string   // path of the journal
	lock    *os.File // locked with flock(2) until it is closed, or the program ends
}

// openState makes the directory if need be, and locks the journal. Without
// create it returns nil if there is no directory.
func openState(c Config, create bool) (*state, error) {
	if create {
		if err := makeDir(c.State); err != nil {
			return nil, err
		}
	}
	dir, err := os.OpenFile(c.State, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("a place for the journal: %w", err)
	}
	defer dir.Close()
	if err := checkOwner(dir); err != nil {
		return nil, err
	}
	name, err := key(c.Path)
	if err != nil {
		return nil, err
	}
	s := &state{path: c.Path, dir: c.State, journal: filepath.Join(c.State, name+".json")}
	s.lock, err = os.OpenFile(filepath.Join(c.State, name+".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("a lock for the journal: %w", err)
	}
	err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = app.Hint(fmt.Errorf("a client runs on this host, and uses %s", c.Path), "Stop it first; it puts back what it changed.")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close unlocks the journal. The lock's file stays: whoever removed it could
// take away the lock of another client that has just begun.
func (s *state) close() error { return s.lock.Close() }

// makeDir makes the directory, and sees to it that it outlives a power cut.
func makeDir(name string) error {
	err := os.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("a place for the journal: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

// checkOwner makes sure that nobody else could have written the journal.
func checkOwner(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return app.Hint(fmt.Errorf("%s is not ours alone", dir.Name()), "Others may write there. Remove it: sudo rm -r %s", dir.Name())
	}
	return nil
}

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

// draft is where the journal is written first.
func (s *state) draft() string { return s.journal + ".new" }

// save writes the journal in one move, and returns when it is on the disk.
func (s *state) save(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if _, err := parseJournal(data); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err = writeFile(s.draft(), data); err == nil {
		step("mv -T %s %s", s.draft(), s.journal)
		if err = os.Rename(s.draft(), s.journal); err == nil {
			err = syncDir(s.dir)
		}
	}
	if err != nil {
		os.Remove(s.draft())
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

// keep saves what was found for a person to look at, and says what it was. Its
// name comes from its content, so that nothing is overwritten, or kept twice.
func (s *state) keep(found snapshot) (was string, err error) {
	switch found.Kind {
	case isAbsent:
		return "there was none", nil
	case isSymlink:
		return fmt.Sprintf("it was a symlink to %q", found.Target), nil
	}
	sum := sha256.Sum256(found.Data)
	name := filepath.Join(s.dir, fmt.Sprintf("resolv.conf-%x", sum[:4]))
	if err := writeFile(name, found.Data); err != nil {
		return "", err
	}
	return "it was as in " + name, syncDir(s.dir)
}

// writeFile writes a file of the directory, and returns when it is on the disk.
func writeFile(name string, data []byte) error {
	step("create %s", name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	step("write %s", name)
	if _, err := f.Write(data); err != nil {
		return err
	}
	step("sync %s", name)
	return f.Sync()
}
