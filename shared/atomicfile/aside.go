package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetAside moves a damaged file or folder out of the way, for a person to look at, and
// returns its new name: the old one with ".damaged" at the end. Anything that had the new
// name before is removed. Others must not be able to write to the folder. It may be called
// from any goroutine.
func SetAside(name string) (now string, err error) {
	now = name + ".damaged"
	err = os.Rename(name, now)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		if err = os.RemoveAll(now); err == nil {
			err = os.Rename(name, now)
		}
	}
	return now, err
}

// Misplaced reports whether an error says that something else is in the place of a file
// of ours: a folder, a symlink, or a file that others may change.
func Misplaced(err error) bool {
	return errors.Is(err, ErrNotRegular) || errors.Is(err, ErrNotOurs) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}
