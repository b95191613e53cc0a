package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncFolder makes the names in a folder survive a power failure. It is for callers that
// rename or remove files; Write does it by itself.
func SyncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// MakeFolder makes a folder of mode 0700, unless it exists, and makes sure that the folder
// survives a power failure. Its parent must exist.
func MakeFolder(name string) error {
	err := os.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(name))
}

// OpenFolder opens a folder, for example for Lock. Whatever trust is, the folder must be
// ours alone, so that nobody but this user and root can have put a file there.
func OpenFolder(name string, trust Trust) (*os.File, error) {
	flags := unix.O_DIRECTORY
	if trust != Follow {
		flags |= unix.O_NOFOLLOW
	}
	dir, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat()
	if err == nil && !alone(info, os.Geteuid()) {
		err = fmt.Errorf("%s %w", name, ErrNotOurs)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}
