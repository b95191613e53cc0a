package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
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
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	step("write %s", path)
	if _, err := file.Write(s.Data); err != nil {
		return err
	}
	if err := s.chown(path); err != nil {
		return err
	}
	copyLabel(label, path)
	step("chmod %o %s", s.Mode, path)
	if err := file.Chmod(s.Mode); err != nil {
		return err
	}
	step("sync %s", path)
	return file.Sync()
}

// chown gives it to its owner, if that is somebody else.
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
		return errChanged
	case err != nil:
		return &os.LinkError{Op: how, Old: from, New: to, Err: err}
	}
	return nil
}

// overwrite replaces the content of a file and nothing else of it. Room is
// reserved before the first byte changes. What there is if it is killed
// meanwhile, torn recognizes.
func overwrite(path string, from, to []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if !bytes.Equal(now, from) {
		return errChanged
	}
	step("fallocate --keep-size --length %d %s", len(to), path)
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(max(len(to), 1)))
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("making room in %s: %w", path, err)
	}
	step("write %s", path)
	if _, err := f.WriteAt(to, 0); err != nil {
		return err
	}
	step("truncate --size %d %s", len(to), path)
	if err := f.Truncate(int64(len(to))); err != nil {
		return err
	}
	step("sync %s", path)
	return f.Sync()
}

// syncDir makes sure that what was done to names in the directory is on the
// disk.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	step("sync %s", name)
	return dir.Sync()
}
