package killswitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/lan"
)

const (
	fileName = "killswitch.json"
	maxFile  = 1 << 20 // bytes; a list of 4,096 networks has less than 200,000
)

// save keeps the Config, and returns when it is on the disk.
func (c Config) save(state string) (err error) {
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
	draft := filepath.Join(state, fileName+".new")
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(draft, filepath.Join(state, fileName))
	}
	if err != nil {
		os.Remove(draft)
		return err
	}
	dir, err := os.Open(state)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
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
	f, err := os.OpenFile(filepath.Join(state, fileName), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file", f.Name())
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
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
	if err := os.Remove(filepath.Join(state, fileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return app.Hint(fmt.Errorf("the kill switch is open, but a boot may close it again: %w", err), "Remove it by hand.")
	}
	return nil
}

// ErrRuns is what Lock returns if a client runs.
var ErrRuns = errors.New("a client runs on this host, or its kill switch is being opened")

// Lock keeps others from opening the switch while a client runs, or until unlock is
// called.
func Lock(state string) (unlock func() error, err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(state, "client.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = app.Hint(ErrRuns, "Stop it first; it puts back what it changed.")
		}
		return nil, err
	}
	return f.Close, nil
}
