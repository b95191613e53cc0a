package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// aside is added to the file's name for the original while ours stands in its
// place; before, ours is written there.
const aside = ".before-stepvpn"

// newMode is for a file where there was none.
const newMode = 0o644

// errChanged says that another program came in between.
var errChanged = errors.New("another program changed it at this moment; try again")

// A fileChange is what is done to the file. It is part of the journal.
type fileChange struct {
	InPlace bool     `json:"inPlace,omitempty"` // else it is exchanged
	Found   snapshot `json:"found"`
	Written []byte   `json:"written"`
}

// takeOver puts the text in the place of what was found. What it leaves when it
// fails, or is killed, putBack undoes.
func (f *fileChange) takeOver(path string) error {
	if f.InPlace {
		return overwrite(path, f.Found.Data, f.Written)
	}
	ours := snapshot{Kind: isFile, Data: f.Written, Mode: newMode, UID: os.Geteuid(), GID: os.Getegid()}
	if f.Found.Kind == isFile {
		ours.Mode, ours.UID, ours.GID = f.Found.Mode, f.Found.UID, f.Found.GID
	}
	if err := ours.create(path+aside, path); err != nil {
		return err
	}
	if now, err := look(path); err != nil || !now.same(f.Found) {
		return errors.Join(err, errChanged)
	}
	if err := exchange(path+aside, path, f.Found.Kind == isAbsent); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// putBack makes the file what was found, whatever of takeOver was done. It
// leaves alone what another program put there.
func (f *fileChange) putBack(path string) (left bool, err error) {
	now, err := look(path)
	if err != nil {
		return false, err
	}
	switch {
	case now.same(f.Found):
	case !f.wrote(now):
		left = true
	case f.InPlace:
		return false, overwrite(path, now.Data, f.Found.Data)
	case f.Found.Kind == isAbsent:
		step("rm %s", path)
		err = os.Remove(path)
	default:
		err = f.moveBack(path)
	}
	if err != nil || f.InPlace {
		return left, err
	}
	step("rm -f %s", path+aside)
	if err := os.Remove(path + aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return left, err
	}
	return left, syncDir(filepath.Dir(path))
}

// moveBack puts the original back. Should it not be there, because the
// filesystem can't exchange files, or somebody removed it, it is made anew.
func (f *fileChange) moveBack(path string) error {
	original, err := look(path + aside)
	if err != nil {
		return err
	}
	if !original.same(f.Found) {
		step("rm -f %s", path+aside)
		if err := os.Remove(path + aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := f.Found.create(path+aside, path); err != nil {
			return err
		}
	}
	step("mv -T %s %s", path+aside, path)
	return os.Rename(path+aside, path)
}

// wrote reports whether now is our work, done or half done.
func (f *fileChange) wrote(now snapshot) bool {
	if now.Kind != isFile {
		return false
	}
	return bytes.Equal(now.Data, f.Written) ||
		f.InPlace && (torn(now.Data, f.Found.Data, f.Written) || torn(now.Data, f.Written, f.Found.Data))
}

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
