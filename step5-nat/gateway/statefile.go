package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// stateDir is where the state is kept. /run is emptied at boot, and a boot
// restores the settings too.
const stateDir = "/run/stepvpn"

// Limits of a state file. Beyond them it is not one of ours.
const (
	maxStateSize = 1 << 20 // bytes
	maxOwners    = 64
	maxChanges   = 256
)

// A statefile is the file and the lock on it.
type statefile struct {
	path string
	dir  *os.File // holds the lock
}

// openState locks and reads the state of this network namespace.
func openState() (*state, error) {
	// thread-self, for a thread may be in another namespace than its process.
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	namespace := info.Sys().(*syscall.Stat_t).Ino
	file := statefile{path: fmt.Sprintf("%s/gateway-%d.json", stateDir, namespace)}
	if file.dir, err = lock(stateDir); err != nil {
		return nil, err
	}
	s, err := load(file.path)
	if err != nil {
		file.dir.Close()
		return nil, app.Hint(fmt.Errorf("state file %s: %w", file.path, err),
			"Nothing was changed. See whether 'sysctl %s %s' is as it should be, and remove the file.", dotted(forward4), dotted(forward6))
	}
	s.file = file
	return s, nil
}

// close unlocks the state.
func (s *state) close() error { return s.file.dir.Close() }

// lock makes the directory, if need be, and waits until no other program has it
// locked (flock(2)). The lock goes when the file is closed, or the program ends.
func lock(name string) (*os.File, error) {
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("a place for the state: %w", err)
	}
	dir, err := os.OpenFile(name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("a place for the state: %w", err)
	}
	if err := checkOwner(dir); err != nil {
		dir.Close()
		return nil, err
	}
	const tries, pause = 100, 100 * time.Millisecond
	for range tries {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return dir, nil
		}
		time.Sleep(pause)
	}
	dir.Close()
	return nil, fmt.Errorf("%s is locked by another program: %w", name, err)
}

// checkOwner makes sure that nobody else could have written the state.
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

// load reads a state. No file is an empty one.
func load(name string) (*state, error) {
	f, err := os.OpenFile(name, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return new(state), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStateSize+1))
	if err != nil {
		return nil, err
	}
	return parseState(data)
}

// save writes the state in one move: a reader finds the old or the new one.
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
		return err // there is too much of it
	}
	draft := s.file.path + ".new"
	if err := os.WriteFile(draft, data, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, s.file.path)
}

// settable lists all settings that a state may restore, "*" being an interface.
var settable = []string{
	forward4, forward6, redirects4,
	"net/ipv4/conf/*/forwarding", "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/accept_ra",
	"net/netfilter/nf_conntrack_*",
}

// number is what they all hold.
var number = regexp.MustCompile(`^-?[0-9]{1,9}$`)

// parseState reads a state, and refuses any that would change anything but the
// settings that gateways change.
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
			return nil, fmt.Errorf("%q is no value of a setting", c.Set)
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
		return fmt.Errorf("%q = %q is nothing that a gateway sets", key, value)
	}
	return nil
}
