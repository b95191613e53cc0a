package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFile bounds the file, in bytes. Those of this world have a few hundred.
const maxFile = 64 << 10

// What there may be at a path.
const (
	isAbsent  = "absent"
	isFile    = "file"
	isSymlink = "symlink"
	isOther   = "other" // nothing that we would touch
)

// A snapshot is what was at a path. It is part of the journal.
type snapshot struct {
	Kind   string      `json:"kind"`
	Data   []byte      `json:"data,omitempty"`   // of a file
	Mode   fs.FileMode `json:"mode,omitempty"`   // of a file: its permissions
	UID    int         `json:"uid,omitempty"`    // of a file or symlink
	GID    int         `json:"gid,omitempty"`    // likewise
	Target string      `json:"target,omitempty"` // of a symlink

	what string // of something other, for messages
}

// same reports whether both have the same content.
func (s snapshot) same(other snapshot) bool {
	return s.Kind == other.Kind && s.Kind != isOther && bytes.Equal(s.Data, other.Data) && s.Target == other.Target
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
		s.owner(info)
		return s, err
	case 0:
		return lookInside(path, unix.O_NOFOLLOW)
	}
	return snapshot{Kind: isOther, what: name(info.Mode())}, nil
}

// lookInside takes a snapshot of a file, and follows symlinks unless the flags
// say no.
func lookInside(path string, flags int) (snapshot, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return snapshot{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return snapshot{}, err
	}
	if !info.Mode().IsRegular() {
		return snapshot{Kind: isOther, what: name(info.Mode())}, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return snapshot{}, err
	}
	if len(data) > maxFile {
		return snapshot{Kind: isOther, what: fmt.Sprintf("larger than %d KB", maxFile>>10)}, nil
	}
	s := snapshot{Kind: isFile, Data: data, Mode: info.Mode().Perm()}
	s.owner(info)
	return s, nil
}

func (s *snapshot) owner(info fs.FileInfo) {
	stat := info.Sys().(*syscall.Stat_t)
	s.UID, s.GID = int(stat.Uid), int(stat.Gid)
}

// name says what a thing is that is no file.
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

// torn reports whether now is what there is while from is overwritten with to,
// from the start on: the first part of to, followed by the rest of from.
func torn(now, from, to []byte) bool {
	if len(now) != len(from) {
		return len(now) > len(from) && bytes.HasPrefix(to, now)
	}
	head := 0
	for head < min(len(now), len(to)) && now[head] == to[head] {
		head++
	}
	tail := 0
	for tail < len(now) && now[len(now)-1-tail] == from[len(now)-1-tail] {
		tail++
	}
	return head+tail >= len(now)
}
