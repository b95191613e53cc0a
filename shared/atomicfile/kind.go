package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// A Kind says what a program uses a file for, and so who must not be able to change or
// read it.
type Kind struct {
	Name   string // for errors: "key file"
	Secret bool   // others may not read it either
	Cure   string // a sentence: what to do if somebody could have read or changed it
}

// Check returns an error, with a hint, unless a file is as safe as its kind demands. It
// must belong to root or to the user of this process. Others must not be able to change it,
// nor to read it if it is a secret. And nobody else must be able to put another file in its
// place: all folders on the way to it, including those that symbolic links lead through,
// must belong to one of the two, and others may write there only if the folder is sticky,
// as /tmp is. info describes the file that was opened by the name.
func (k Kind) Check(name string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	owner := OwnerOf(info).UID
	switch {
	case k.Secret && mode&0o077 != 0:
		return app.Hint(fmt.Errorf("%s %s may be read or changed by users other than its owner (mode %#o)", k.Name, name, mode),
			"If nobody has read it so far, type: chmod 600 %s. %s", name, k.Cure)
	case mode&0o022 != 0:
		return app.Hint(fmt.Errorf("%s %s may be written by users other than its owner (mode %#o)", k.Name, name, mode),
			"%s Check that it is as it should be, then type: chmod go-w %s", k.Cure, name)
	case !trusted(owner):
		return app.Hint(fmt.Errorf("%s %s belongs to user %d, who can change it", k.Name, name, owner),
			"Check that it is as it should be, then type: chown %d %s", os.Geteuid(), name)
	}
	return k.CheckFolders(name)
}

// CheckFolders is Check for the folders on the way to a file, which need not exist. If
// this process may not look into one of them, it can't check the rest, and returns nil.
func (k Kind) CheckFolders(name string) error {
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	const maxLinks = 40 // as in the kernel: path_resolution(7)
	at, rest, links := "/", strings.Split(abs[1:], "/"), 0
	for {
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR):
			return nil
		case err != nil:
			return err
		case !trusted(OwnerOf(info).UID):
			return app.Hint(fmt.Errorf("%s %s is not safe: %s, on the way to it, belongs to user %d", k.Name, name, at, OwnerOf(info).UID),
				"That user can put another one in its place. Move it to another folder, or type: chown -h %d %s", os.Geteuid(), at)
		case info.IsDir() && info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
			return app.Hint(fmt.Errorf("%s %s is not safe: others may write to the folder %s (mode %#o)", k.Name, name, at, info.Mode().Perm()),
				"They can put another one in its place. Move it to another folder, or type: chmod go-w %s", at)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
			}
			if at = filepath.Dir(at); filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
		}
		for len(rest) > 0 && (rest[0] == "" || rest[0] == ".") {
			rest = rest[1:]
		}
		if len(rest) == 0 || len(rest) == 1 && !isLink(filepath.Join(at, rest[0])) {
			return nil // the file itself
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}

func isLink(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// trusted reports whether a user may decide what this process reads. That is true of root,
// of the user who runs it, and of the user who became root by sudo(8) to run it.
func trusted(uid int) bool {
	user := os.Geteuid()
	if uid == 0 || uid == user {
		return true
	}
	if by, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && user == 0 && by == uid {
		return true
	}
	return uid == unmapped()
}

// unmapped returns the number that stands for all users, root of the machine among them,
// that do not exist in this process's namespace, or -1: see user_namespaces(7).
var unmapped = sync.OnceValue(func() int {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295" {
		return -1
	}
	text, err = os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return -1
	}
	uid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return uid
})
