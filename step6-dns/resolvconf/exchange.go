package resolvconf

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/atomicfile"
)

// This file has the single steps on disk by which our resolv.conf and the original change
// places: exchange, remove, sync, and making a lost original anew from the journal. The log
// shows each, and tests can interrupt the program at each (see step).

// exchange swaps the names of two files, ours and the original, in one move; or moves the
// first to where there is nothing. A filesystem that can do neither (EINVAL) gets a plain
// rename: the original then is in the journal only.
func exchange(from, to string, absent bool) error {
	flags, how := uint(unix.RENAME_EXCHANGE), "mv --exchange"
	if absent {
		flags, how = unix.RENAME_NOREPLACE, "mv --no-clobber"
	}
	step("%s -T %s %s", how, from, to)
	err := renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return os.Rename(from, to)
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
		return atomicfile.ErrChanged
	case err != nil:
		return &os.LinkError{Op: how, Old: from, New: to, Err: err}
	}
	return nil
}

// renameat2 is the system call; a test plays a filesystem that lacks it.
var renameat2 = unix.Renameat2

// setAsideAgain makes the original anew where it was set aside, from the journal, if it is
// not there any more: the filesystem can't exchange files, or somebody has removed it.
func (f *fileChange) setAsideAgain(path string) error {
	now, err := look(path + aside)
	if err != nil || now.same(f.Found) || f.isOriginal(now) {
		return err
	}
	if err := remove(path + aside); err != nil {
		return err
	}
	return f.Found.create(path+aside, path)
}

// isOriginal reports whether what was set aside is the file that was found, perhaps with what
// a program that had it open has gone on to write.
func (f *fileChange) isOriginal(aside snapshot) bool {
	return !f.InPlace && f.Found.Kind == isFile && aside.Kind == isFile
}

// remove removes a file, if there is one.
func remove(path string) error {
	step("rm -f %s", path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes sure that what was done to names in the directory is on the
// disk.
func syncDir(name string) error {
	step("sync %s", name)
	return atomicfile.SyncFolder(name)
}

// step is called before each single change. The log can show them all; tests
// end the process at each.
func step(format string, args ...any) { slog.Debug(fmt.Sprintf(format, args...)) }
