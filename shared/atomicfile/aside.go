package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetAside moves what is damaged out of the way, for a person to look at, and returns
// where it is now: under the same name with ".damaged" at the end. What was there before
// goes. Others must not be able to write to the folder. It may be called from any goroutine.
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

// Misplaced tells whether an error says that there is something else in the place of a
// file of ours: a folder, a symlink, or a file that others may change.
func Misplaced(err error) bool {
	return errors.Is(err, ErrNotRegular) || errors.Is(err, ErrNotOurs) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}
