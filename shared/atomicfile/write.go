// Package atomicfile writes files so that a crash or a full disk loses nothing:
// the field's name is an atomic write. Whoever opens the file finds the old
// content or the new one, whole, also after a power failure.
//
// The way is the usual one. A draft is written beside the file, with its owner and
// mode, and synced (fsync(2)); it takes the file's name in one move (rename(2)); and
// the folder is synced, so that the move outlives a power failure, too.
//
//	write.go      Write, and Create for who has a journal of its own
//	read.go       Read, which is bounded and can't be made to hang
//	lock.go       OpenLock, for who edits files; Lock; and Locked: a file that one
//	              process has for itself
//	kind.go       who else could have written or read it, or put it there
//	folder.go     a folder of the program's own
//	overwrite.go  Overwrite, for what can't be renamed, such as a bind mount
//
// Errors are those of package os, and name the file, not its draft. Functions may be
// called from any goroutine; of two that write one file at the same time, the second
// gets ErrLocked. Sizes are in bytes.
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
	// Owner is to own the file. nil means the process.
	Owner *Owner
	// Exclusive refuses, with fs.ErrExist, if there is anything of this name.
	Exclusive bool
	// Trace, if there is one, is called before each step, with what a person would
	// type. A test ends the process there.
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

// draftSuffix is added to a file's name for its draft. The name is always the same:
// what a killed process has left, the next Write removes.
const draftSuffix = ".new"

// Write makes data the content of a file, in one move. After an error the file is
// what it was, unless the error is that of syncing the folder: then it is the new
// one, and a power failure may undo that. A symlink of this name is replaced, not
// followed.
func Write(name string, data []byte, o Options) error {
	f, err := o.place(name, data)
	if err != nil {
		return err
	}
	err = errors.Join(f.Close(), o.syncFolder(name))
	if err != nil && o.Exclusive {
		os.Remove(name) // nobody has it yet, and it is none that was there before
	}
	return err
}

// Create writes a new file under its own name, and refuses if there is anything of
// that name. It removes the file if it fails; but one that is killed leaves a part.
// So it is for a file that nobody takes for whole, such as one that a journal tells
// of. Write with Exclusive is for all others. The folder is not synced.
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

// place does all of Write but syncing the folder. The file that it returns is locked.
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
	if err == nil && !isAt(f, draft) { // by one who can't lock it
		err = &fs.PathError{Op: "write", Path: name, Err: errors.New("its draft was taken away meanwhile")}
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

// RemoveDraft removes what a Write has left beside a file when it was killed. The next
// Write does so, too; this is for a file that may never be written again.
func RemoveDraft(name string) error { return Options{}.removeDraft(name + draftSuffix) }

// openDraft makes an empty draft, and locks it: so a draft that is not locked is of a
// process that has ended.
func (o Options) openDraft(draft string) (*os.File, error) {
	const tries = 100 // it can take another one only if somebody else writes, too
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
		f.Close() // somebody has taken it for one that was left
	}
	return nil, locked(draft)
}

// removeDraft removes a draft that was left. One that cannot be opened, such as that
// of another user, or a symlink, is none that this program could be writing.
func (o Options) removeDraft(draft string) error {
	f, err := os.OpenFile(draft, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // by now there may be another one, in use
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

// lockDraft locks a draft that was left. If others may open it, a lock may be theirs, for
// ever: then it counts for no longer than a Write may take from there on.
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

// strangersLock is how long a lock counts that may be a stranger's.
const strangersLock = time.Second

// fill writes a new file, and returns once its content will survive a power failure.
func (o Options) fill(f *os.File, data []byte) error {
	if o.Owner != nil {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if OwnerOf(info) != *o.Owner { // who may not give files away may keep them
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
		// A filesystem that can't, such as NFS. A link never takes the place of
		// another file either.
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

// renamed makes an error about a draft one about its file, which is what a person
// knows of.
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
