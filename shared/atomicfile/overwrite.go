package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Overwrite replaces the content of a file, which must be from, by to. The file itself
// stays, with its owner, mode and links. It is for a file that can't be replaced by
// another one, such as a bind mount. Room is reserved before the first byte changes, so a
// full disk is noticed in time. If the content is not from, the error is ErrChanged.
//
// It is not atomic: readers may see a mixture meanwhile, and if the process is killed, the
// mixture stays. Torn recognizes such a mixture; to repair it, the caller must have kept
// from. Of the Options, only Trace is used.
func Overwrite(name string, from, to []byte, o Options) error {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := readAll(f, len(from))
	if errors.Is(err, ErrTooLarge) || err == nil && !bytes.Equal(now, from) {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	o.trace("fallocate --keep-size --length %d %s", len(to), name)
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(max(len(to), 1)))
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return &fs.PathError{Op: "making room in", Path: name, Err: err}
	}
	o.trace("write %s", name)
	if _, err := f.WriteAt(to, 0); err != nil {
		return err
	}
	o.trace("truncate --size %d %s", len(to), name)
	if err := f.Truncate(int64(len(to))); err != nil {
		return err
	}
	o.trace("sync %s", name)
	return f.Sync()
}

// ErrChanged is the error for a file whose content is not what the caller has seen there.
var ErrChanged = errors.New("another program changed it at this moment; try again")

// Torn reports whether now is a mixture that an interrupted Overwrite of from by to leaves:
// the first part of to, followed by the rest of from.
func Torn(now, from, to []byte) bool {
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
