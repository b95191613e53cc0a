package killswitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/lan"
)

const (
	fileName = "killswitch.json"
	maxFile  = 1 << 20 // bytes; a list of 4,096 networks has less than 200,000
)

// Save keeps the Config, and returns when it is on the disk. If that fails the log says
// so: it is no reason to leave the switch open.
func (c Config) Save(state string) {
	if err := c.save(state); err != nil {
		slog.Warn("the kill switch is closed, but after a boot that may depend on the settings", "error", err)
	}
}

func (c Config) save(state string) error {
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if old, err := read(state); err == nil && string(old) == string(text) {
		return nil
	}
	name := filepath.Join(state, fileName)
	if _, found, err := Saved(state); found && err != nil {
		aside(name, err)
	}
	return atomicfile.Write(name, text, atomicfile.Options{})
}

// Saved returns how the switch was when it was closed last, and whether it was. A file
// that can't be read is an error, and says that it was.
func Saved(state string) (c Config, found bool, err error) {
	text, err := read(state)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, true, err
	}
	if err := errors.Join(json.Unmarshal(text, &c), c.check()); err != nil {
		return c, true, fmt.Errorf("%s: %w", filepath.Join(state, fileName), err)
	}
	return c, true, nil
}

// read reads the file, whatever somebody has put in its place.
func read(state string) ([]byte, error) {
	text, _, err := atomicfile.Read(filepath.Join(state, fileName), maxFile, atomicfile.Ours)
	return text, err
}

// check refuses what save never writes, and what nft would take for something else.
func (c Config) check() error {
	if len(c.Device) > 15 || slices.ContainsFunc([]byte(c.Device), func(b byte) bool { return b <= ' ' || b > '~' || b == '"' || b == '\\' }) {
		return fmt.Errorf("%q is no name of a device", c.Device)
	}
	if !slices.Contains(lan.Policies, string(c.LAN)) {
		return fmt.Errorf("lan is %q", c.LAN)
	}
	for _, n := range slices.Concat(c.Only, c.Tunnel) {
		if !n.IsValid() {
			return errors.New("a network is not valid")
		}
	}
	return nil
}

func forget(state string) error {
	name := filepath.Join(state, fileName)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // also where nothing can be removed
	}
	if err := os.RemoveAll(name); err != nil {
		return app.Hint(fmt.Errorf("the kill switch is open, but a boot may close it again: %w", err), "Remove it by hand.")
	}
	return nil
}

// ErrRuns is what Lock returns if a client runs.
var ErrRuns = errors.New("a client runs on this host, or its kill switch is being opened")

// Lock keeps others from opening the switch while a client runs, or until unlock is
// called. What is in the way of that is set aside. On a disk where nothing can be written
// it goes without: that is no reason to leave this host open.
func Lock(state string) (unlock func() error, err error) {
	name := filepath.Join(state, "client.lock")
	err = os.MkdirAll(state, 0o700)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrExist) {
		aside(state, err)
		err = os.MkdirAll(state, 0o700)
	}
	var lock *atomicfile.Locked
	if err == nil {
		lock, err = atomicfile.OpenLocked(name)
		if atomicfile.Misplaced(err) {
			aside(name, err)
			lock, err = atomicfile.OpenLocked(name)
		}
	}
	switch {
	case errors.Is(err, atomicfile.ErrLocked):
		return nil, app.Hint(ErrRuns, "Stop it first; it puts back what it changed.")
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS):
		slog.Warn("another client that is started on this host is not kept from it", "error", err)
		return func() error { return nil }, nil
	case err != nil:
		return nil, err
	}
	return lock.Close, nil
}

// aside sets aside what is damaged, and says so.
func aside(name string, damage error) {
	if now, err := atomicfile.SetAside(name); err != nil {
		slog.Warn("a file of the state is damaged, and can't be set aside", "file", name, "damage", damage, "error", err)
	} else {
		slog.Warn("a file of the state is damaged, and was set aside", "file", name, "damage", damage, "now", now)
	}
}
