package resolvconf

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// refuse returns an error, with what to do, if the planned change of the file would fail:
// before anything is changed.
func (f *fileChange) refuse(path string) error {
	if f.InPlace {
		return refusal(path, unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, 0))
	}
	if err := mayChangeNames(filepath.Dir(path)); err != nil {
		return refusal(filepath.Dir(path), err)
	}
	if f.Found.Kind == isFile && immutable(path) {
		return refusal(path, unix.EPERM)
	}
	left, err := look(path + aside)
	if err == nil && left.Kind != isAbsent {
		err = app.Hint(&Damaged{"", fmt.Errorf("%s exists: a client was killed, and its journal is gone", path+aside)},
			"If it is the original, move it back: mv -T %s %s", path+aside, path)
	}
	return err
}

// mayChangeNames returns an error unless files can be put into a directory, and moved there.
func mayChangeNames(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, 0)
}

// refusal says why a path cannot be changed, and what to do.
func refusal(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return app.Hint(fmt.Errorf("%s cannot be changed: it is on a read-only filesystem", path),
			"Mount a file of its own there that can be written to, or name the tunnel's resolvers there yourself.")
	case immutable(path):
		return app.Hint(fmt.Errorf("%s cannot be changed: it is immutable (chattr +i)", path),
			"Somebody wanted it to stay. To allow changes: chattr -i %s", path)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return app.Hint(fmt.Errorf("%s cannot be changed: permission denied", path), "Run it as root, for example with sudo.")
	}
	return fmt.Errorf("%s cannot be changed: %w", path, err)
}

// immutable reports whether the file may not be changed by anybody.
func immutable(path string) bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &stat)
	return err == nil && stat.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}
