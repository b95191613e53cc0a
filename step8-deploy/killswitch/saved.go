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

// This file keeps on disk how the kill switch was last closed (killswitch.json), for the next
// boot, or for the recovery after the client was killed. It also has the lock that a running
// client holds, and that a command needs that opens the switch: so only one of them is at work.

// Save saves the Config, and returns when it is on the disk. It only logs a failure, which
// is no reason to leave the switch open.
func (c Config) Save(state string) {
	if err := c.save(state); err != nil {
		slog.Warn("the kill switch is closed, but its state can't be saved: after a reboot it depends on the settings", "error", err)
	}
}

const (
	fileName = "killswitch.json"
	maxFile  = 1 << 20 // bytes; a list of 4,096 networks has less than 200,000
)

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

// Saved returns the Config with which the switch was last closed, and whether it is closed.
// If the file can't be read, Saved returns an error, and true.
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

// read reads the file, and is safe against whatever somebody has put in its place.
func read(state string) ([]byte, error) {
	text, _, err := atomicfile.Read(filepath.Join(state, fileName), maxFile, atomicfile.Ours)
	return text, err
}

// check returns an error for values that save never writes, and for those that nft would
// take for something else.
func (c Config) check() error {
	if len(c.Device) > 15 || slices.ContainsFunc([]byte(c.Device), func(b byte) bool { return b <= ' ' || b > '~' || b == '"' || b == '\\' }) {
		return fmt.Errorf("%q is not a possible name of a device", c.Device)
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
		return nil // even on a disk where nothing can be removed
	}
	if err := os.RemoveAll(name); err != nil {
		return app.Hint(fmt.Errorf("the kill switch is open, but a boot may close it again: %w", err), "Remove it by hand.")
	}
	return nil
}

// ErrRuns is the error of Lock if a client is running.
var ErrRuns = errors.New("a client is running on this host, or its kill switch is being opened")

// Lock keeps others from opening the switch until unlock is called. It sets aside a damaged
// file that is in its way. On a read-only disk it succeeds without a lock: that is no reason
// to leave this host open.
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
		slog.Warn("no lock can be made, so nothing prevents a second client on this host", "error", err)
		return func() error { return nil }, nil
	case err != nil:
		return nil, err
	}
	return lock.Close, nil
}

// aside sets a damaged file aside, and logs that.
func aside(name string, damage error) {
	if now, err := atomicfile.SetAside(name); err != nil {
		slog.Warn("a file of the state is damaged, and can't be set aside", "file", name, "damage", damage, "error", err)
	} else {
		slog.Warn("a file of the state is damaged, and was set aside", "file", name, "damage", damage, "now", now)
	}
}
