package resolvconf

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/atomicfile"
)

// create makes what the snapshot has at a path where nothing is. A file gets the
// label of the one that it stands in for.
func (s snapshot) create(path, label string) error {
	step("create %s", path)
	if s.Kind == isSymlink {
		if err := os.Symlink(s.Target, path); err != nil {
			return err
		}
		return s.chown(path)
	}
	err := atomicfile.Create(path, s.Data, atomicfile.Options{
		Mode: s.Mode, Owner: &atomicfile.Owner{UID: s.UID, GID: s.GID}, Trace: step,
	})
	if err == nil {
		copyLabel(label, path)
	}
	return err
}

// chown gives a symlink to its owner, if that is somebody else.
func (s snapshot) chown(path string) error {
	if s.UID == os.Geteuid() && s.GID == os.Getegid() {
		return nil
	}
	step("chown -h %d:%d %s", s.UID, s.GID, path)
	return os.Lchown(path, s.UID, s.GID)
}

// copyLabel copies the SELinux label, if there is one.
func copyLabel(from, to string) {
	label := make([]byte, 4096)
	if n, err := unix.Lgetxattr(from, "security.selinux", label); err == nil {
		step("chcon --reference=%s %s", from, to)
		unix.Lsetxattr(to, "security.selinux", label[:n], 0)
	}
}

// renameat2 is the system call; a test plays a filesystem that lacks it.
var renameat2 = unix.Renameat2

// exchange swaps two names, or moves the first to where there is nothing. A
// filesystem that can do neither (EINVAL) gets a plain rename: the original
// then is in the journal only.
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

// syncDir makes sure that what was done to names in the directory is on the
// disk.
func syncDir(name string) error {
	step("sync %s", name)
	return atomicfile.SyncFolder(name)
}
