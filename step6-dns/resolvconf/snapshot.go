package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/atomicfile"
)

// A snapshot says what was found at a path: a file with its owner and mode, a symlink, or
// nothing. It is part of the journal.
type snapshot struct {
	Kind   string      `json:"kind"`
	Data   []byte      `json:"data,omitempty"`   // of a file
	Mode   fs.FileMode `json:"mode,omitempty"`   // of a file: its permissions
	UID    int         `json:"uid,omitempty"`    // of a file or symlink
	GID    int         `json:"gid,omitempty"`    // likewise
	Target string      `json:"target,omitempty"` // of a symlink

	what string // of something other, for messages
}

// maxFile bounds the file, in bytes. Those of this world have a few hundred.
const maxFile = 64 << 10

// What there may be at a path.
const (
	isAbsent  = "absent"
	isFile    = "file"
	isSymlink = "symlink"
	isOther   = "other" // nothing that we would touch
)

// same reports whether both have the same content.
func (s snapshot) same(other snapshot) bool {
	return s.Kind == other.Kind && s.Kind != isOther && bytes.Equal(s.Data, other.Data) && s.Target == other.Target
}

// String returns words for a sentence, such as "a plain file".
func (s snapshot) String() string {
	switch s.Kind {
	case isAbsent:
		return "absent"
	case isFile:
		return "a plain file"
	case isSymlink:
		return fmt.Sprintf("a symlink to %q", s.Target)
	}
	return s.what
}

// look takes a snapshot.
func look(path string) (snapshot, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot{Kind: isAbsent}, nil
	}
	if err != nil {
		return snapshot{}, err
	}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		s := snapshot{Kind: isSymlink, Target: target}
		s.setOwner(info)
		return s, err
	case 0:
		return lookInside(path, atomicfile.NoFollow)
	}
	return snapshot{Kind: isOther, what: name(info.Mode())}, nil
}

// lookInside takes a snapshot of a file.
func lookInside(path string, trust atomicfile.Trust) (snapshot, error) {
	data, info, err := atomicfile.Read(path, maxFile, trust)
	switch {
	case errors.Is(err, atomicfile.ErrNotRegular):
		return snapshot{Kind: isOther, what: name(info.Mode())}, nil
	case errors.Is(err, atomicfile.ErrTooLarge):
		return snapshot{Kind: isOther, what: fmt.Sprintf("larger than %d KB", maxFile>>10)}, nil
	case err != nil:
		return snapshot{}, err
	}
	s := snapshot{Kind: isFile, Data: data, Mode: info.Mode().Perm()}
	s.setOwner(info)
	return s, nil
}

func (s *snapshot) setOwner(info fs.FileInfo) {
	owner := atomicfile.OwnerOf(info)
	s.UID, s.GID = owner.UID, owner.GID
}

// name says what it is, if it is not a file.
func name(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// create makes what the snapshot has at a path where nothing is. A file gets the
// label of the one that it stands in for.
func (s snapshot) create(path, label string) error {
	step("create %s", path)
	if s.Kind == isSymlink {
		if err := os.Symlink(s.Target, path); err != nil {
			return err
		}
		step("chown -h %d:%d %s", s.UID, s.GID, path)
		return os.Lchown(path, s.UID, s.GID)
	}
	err := atomicfile.Create(path, s.Data, atomicfile.Options{
		Mode: s.Mode, Owner: &atomicfile.Owner{UID: s.UID, GID: s.GID}, Trace: step,
	})
	if err == nil {
		copyLabel(label, path)
	}
	return err
}

// copyLabel copies the SELinux label, if there is one.
func copyLabel(from, to string) {
	label := make([]byte, 4096)
	if n, err := unix.Lgetxattr(from, "security.selinux", label); err == nil {
		step("chcon --reference=%s %s", from, to)
		unix.Lsetxattr(to, "security.selinux", label[:n], 0)
	}
}
