package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// A statefile is the file that a state is kept in (which settings of the host have been
// changed: see state.go), and the lock on it.
type statefile struct {
	path string
	lock *atomicfile.Held
}

// stateDir is the folder that the state is kept in. A boot empties /run, and also
// restores the settings.
const stateDir = "/run/stepvpn"

// Limits of a state file. A file that exceeds them is not ours.
const (
	maxStateSize = 1 << 20 // bytes
	maxOwners    = 64
	maxChanges   = 256
)

// openState locks and reads the state of this network namespace.
func openState() (*state, error) {
	// thread-self, because a thread may be in a different namespace than its process.
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	namespace := info.Sys().(*syscall.Stat_t).Ino
	file := statefile{path: fmt.Sprintf("%s/gateway-%d.json", stateDir, namespace)}
	if file.lock, err = lock(stateDir); err != nil {
		return nil, err
	}
	s, err := load(file.path)
	if err != nil {
		s, err = new(state), file.setAside(err)
	}
	if err != nil {
		file.lock.Close()
		return nil, fmt.Errorf("state file %s: %w", file.path, err)
	}
	s.file = file
	return s, nil
}

// setAside renames a file that is damaged or not ours: it is more important to serve
// clients than to restore a setting.
func (f *statefile) setAside(damage error) error {
	aside := f.path + ".damaged"
	if err := os.Rename(f.path, aside); err != nil {
		return fmt.Errorf("%w; and it can't be set aside: %w", damage, err)
	}
	slog.Warn("the file with the host's original settings is damaged: it is set aside, and they are not restored",
		"file", f.path, "damage", damage, "now", aside, "cure", "See whether 'sysctl "+dotted(forward4)+" "+dotted(forward6)+"' is as it should be when the server is off.")
	return nil
}

// close unlocks the state.
func (s *state) close() error { return s.file.lock.Close() }

// lockWait is how long a program waits for another one that has locked the state.
const lockWait = 10 * time.Second

// lock makes the folder, if necessary, and waits until no other program has locked the
// state. The lock is released when the file is closed, or when the program ends.
func lock(name string) (*atomicfile.Held, error) {
	if err := atomicfile.MakeFolder(name); err != nil {
		return nil, fmt.Errorf("the folder for the state: %w", err)
	}
	dir, err := atomicfile.OpenFolder(name, atomicfile.NoFollow)
	if errors.Is(err, atomicfile.ErrNotOurs) {
		return nil, app.Hint(err, "Others may write there. Remove it: sudo rm -r %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("the folder for the state: %w", err)
	}
	dir.Close()
	return atomicfile.OpenLock(filepath.Join(name, "gateway.lock"), lockWait)
}

// load reads a state. If there is no file, the state is empty.
func load(name string) (*state, error) {
	data, err := atomicfile.ReadOwn(name, maxStateSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return new(state), nil
	case err != nil:
		return nil, err
	}
	return parseState(data)
}

// save writes the state to its file, or removes the file if the state is empty.
func (s *state) save() error {
	if len(s.Owners)+len(s.Changes) == 0 {
		err := os.Remove(s.file.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if _, err := parseState(data); err != nil {
		return err // it is too large
	}
	return atomicfile.Write(s.file.path, data, atomicfile.Options{})
}

// settable lists all settings that a state may restore. "*" is a part of a name, such as
// an interface.
var settable = []string{
	forward4, forward6, redirects4,
	"net/ipv4/conf/*/forwarding", "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra",
	"net/netfilter/nf_conntrack_*",
}

// number matches the values of all these settings.
var number = regexp.MustCompile(`^-?[0-9]{1,9}$`)

// parseState reads a state, and refuses one that contains anything but the settings that
// gateways change.
func parseState(data []byte) (*state, error) {
	if len(data) > maxStateSize {
		return nil, fmt.Errorf("it is larger than %d bytes", maxStateSize)
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if len(s.Owners) > maxOwners || len(s.Changes) > maxChanges {
		return nil, fmt.Errorf("%d gateways and %d settings are too many", len(s.Owners), len(s.Changes))
	}
	for _, c := range s.Changes {
		if !number.MatchString(c.Set) {
			return nil, fmt.Errorf("%q is not the value of a setting", c.Set)
		}
		if err := checkSetting(c.Key, c.Found); err != nil {
			return nil, err
		}
		for key, value := range c.Along {
			if err := checkSetting(key, value); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// checkSetting returns an error unless a gateway may have found value in key.
func checkSetting(key, value string) error {
	listed := slices.ContainsFunc(settable, func(pattern string) bool {
		ok, _ := path.Match(pattern, key)
		return ok && path.Clean(key) == key // no ".." in place of an interface
	})
	if !listed || !number.MatchString(value) {
		return fmt.Errorf("%q = %q is not a setting that a gateway changes", key, value)
	}
	return nil
}
