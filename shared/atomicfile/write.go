// Package atomicfile writes files so that a crash or a full disk loses nothing, which is
// called an atomic write. A program that opens the file finds either the old content or the
// new one, complete, even after a power failure.
//
// The method is the usual one. A draft is written beside the file, with its owner and
// mode, and synced (fsync(2)); it takes the file's name in one step (rename(2)); and the
// folder is synced, so that the new name survives a power failure, too.
//
//	write.go      Write, and Create, for callers that have a journal of their own
//	read.go       Read, which is bounded and can't be made to hang
//	lock.go       OpenLock, for programs that edit files; Lock; and Locked, a file that
//	              only one process uses
//	kind.go       checks who else could have written, read or replaced a file
//	folder.go     folders of the program's own
//	aside.go      SetAside, which keeps a damaged file for a person to look at
//	overwrite.go  Overwrite, for files that can't be renamed, such as a bind mount
//
// Errors are those of package os, and name the file, not its draft. Functions may be
// called from any goroutine; if two write one file at the same time, the second gets
// ErrLocked. Sizes are in bytes.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options are the guarantees that differ from file to file. The zero value is for a
// secret: the process's own, of mode 0600.
type Options struct {
	// Mode are the permissions, whatever the umask says. 0 means 0600.
	Mode fs.FileMode
	// Owner is the owner that the file gets. nil means the user of the process.
	Owner *Owner
	// Exclusive makes it an error, fs.ErrExist, if anything of this name exists.
	Exclusive bool
	// Trace, if set, is called before each step, with the command that a person would
	// type. Tests end the process there.
	Trace func(format string, args ...any)

	rename func(from, to string) error // for tests: replaces renameNew
}

// An Owner is a user and a group, by number.
type Owner struct{ UID, GID int }

// OwnerOf returns the owner of a file.
func OwnerOf(info fs.FileInfo) Owner {
	stat := info.Sys().(*syscall.Stat_t)
	return Owner{int(stat.Uid), int(stat.Gid)}
}

// draftSuffix is added to a file's name for its draft. The name is always the same, so
// that the next Write removes the draft that a killed process has left.
const draftSuffix = ".new"

// Write makes data the content of a file, atomically. An error leaves the file unchanged,
// unless the folder could not be synced: then the file is the new one, but a power failure
// may undo that. A symlink of this name is replaced, not followed.
func Write(name string, data []byte, o Options) error {
	f, err := o.place(name, data)
	if err != nil {
		return err
	}
	err = errors.Join(f.Close(), o.syncFolder(name))
	if err != nil && o.Exclusive {
		os.Remove(name) // it is new, so nobody uses it yet
	}
	return err
}

// Create writes a new file directly under its name. If anything of that name exists, the
// error is fs.ErrExist. If it fails, it removes the file; but if the process is killed, an
// incomplete file remains. So it is only for files that are not taken for complete, such as
// those that a journal lists. For all others, use Write with Exclusive. The folder is not
// synced.
func Create(name string, data []byte, o Options) error {
	o.trace("create %s", name)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(o.fill(f, data), f.Close())
	if err != nil {
		os.Remove(name)
	}
	return err
}

// place does all that Write does, except for syncing the folder. It returns the file,
// locked.
func (o Options) place(name string, data []byte) (*os.File, error) {
	if _, err := os.Lstat(name); o.Exclusive && err == nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	draft := name + draftSuffix
	f, err := o.openDraft(draft)
	if err != nil {
		return nil, renamed(err, name)
	}
	err = o.fill(f, data)
	if err == nil && !isAt(f, draft) { // a process that ignores the lock has replaced it
		err = &fs.PathError{Op: "write", Path: name, Err: errors.New("another process has removed its draft")}
	}
	if err == nil {
		err = o.move(draft, name)
	}
	if err != nil {
		if isAt(f, draft) {
			os.Remove(draft)
		}
		f.Close()
		return nil, renamed(err, name)
	}
	return f, nil
}

// RemoveDraft removes the draft that a killed Write has left beside a file. The next Write
// does so, too; RemoveDraft is for a file that may never be written again.
func RemoveDraft(name string) error { return Options{}.removeDraft(name + draftSuffix) }

// openDraft makes an empty draft and locks it. So an unlocked draft belongs to a process
// that has ended.
func (o Options) openDraft(draft string) (*os.File, error) {
	const tries = 100 // more than one is needed only if another process writes, too
	for range tries {
		o.trace("create %s", draft)
		f, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if err := o.removeDraft(draft); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := Lock(f, 0); err != nil && !errors.Is(err, ErrLocked) {
			os.Remove(draft)
			f.Close()
			return nil, err
		} else if err == nil && isAt(f, draft) {
			return f, nil
		}
		f.Close() // another process has taken it for a leftover
	}
	return nil, locked(draft)
}

// removeDraft removes a leftover draft. If it can't be opened, because it belongs to
// another user or is a symlink, this program can't be writing it, and it is removed, too.
func (o Options) removeDraft(draft string) error {
	f, err := os.OpenFile(draft, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // by now there may be a new one, in use
	}
	if err == nil {
		defer f.Close()
		if err := lockDraft(f); err != nil {
			return err
		}
		if !isAt(f, draft) {
			return nil
		}
	}
	o.trace("rm -f %s", draft)
	err = unix.Unlink(draft) // which leaves a folder alone, unlike os.Remove
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &fs.PathError{Op: "remove", Path: draft, Err: err}
}

// lockDraft locks a leftover draft. If other users may open it, a lock may be one of
// theirs, never released: such a lock is respected only for the time that a Write may take.
func lockDraft(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 && OwnerOf(info).UID == os.Geteuid() {
		return Lock(f, 0)
	}
	if err := Lock(f, strangersLock); !errors.Is(err, ErrLocked) {
		return err
	}
	return nil
}

// strangersLock is how long a lock is respected that may belong to another user.
const strangersLock = time.Second

// fill writes a new file, and returns once its content will survive a power failure.
func (o Options) fill(f *os.File, data []byte) error {
	if o.Owner != nil {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if OwnerOf(info) != *o.Owner { // an ordinary user may not chown, and need not if it is the same
			o.trace("chown %d:%d %s", o.Owner.UID, o.Owner.GID, f.Name())
			if err := f.Chown(o.Owner.UID, o.Owner.GID); err != nil {
				return err
			}
		}
	}
	o.trace("write %s", f.Name())
	if _, err := f.Write(data); err != nil {
		return err
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	o.trace("chmod %o %s", mode, f.Name())
	if err := f.Chmod(mode); err != nil {
		return err
	}
	o.trace("sync %s", f.Name())
	return f.Sync()
}

// move gives the draft the file's name.
func (o Options) move(draft, name string) error {
	if !o.Exclusive {
		o.trace("mv -T %s %s", draft, name)
		return os.Rename(draft, name)
	}
	o.trace("mv --no-clobber -T %s %s", draft, name)
	rename := renameNew
	if o.rename != nil {
		rename = o.rename
	}
	err := rename(draft, name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// The filesystem does not support this, as NFS does not. A new link does not
		// replace an existing file either.
		o.trace("ln -T %s %s", draft, name)
		if err := os.Link(draft, name); err != nil {
			return err
		}
		o.trace("rm %s", draft)
		return os.Remove(draft)
	}
	return err
}

// renameNew renames a file, and never replaces another one.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// syncFolder syncs the folder that a file is in.
func (o Options) syncFolder(name string) error {
	o.trace("sync %s", filepath.Dir(name))
	return SyncFolder(filepath.Dir(name))
}

func (o Options) trace(format string, args ...any) {
	if o.Trace != nil {
		o.Trace(format, args...)
	}
}

// renamed turns an error about a draft into one about its file, which is the one that a
// person knows.
func renamed(err error, name string) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && p.Path == name+draftSuffix && p.Op != "remove" {
		return &fs.PathError{Op: p.Op, Path: name, Err: p.Err}
	}
	if errors.Is(err, ErrLocked) {
		return locked(name)
	}
	return err
}

func locked(name string) error { return fmt.Errorf("%s %w", name, ErrLocked) }

// isAt reports whether f is the file that has this name.
func isAt(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(opened, there)
}
