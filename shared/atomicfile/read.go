package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Trust says what may stand behind a name.
type Trust int

const (
	Follow   Trust = iota // any file; a symlink of the last name is followed
	NoFollow              // no symlink
	Ours                  // likewise, and nobody but this user and root may have written it
)

var (
	// ErrNotRegular is in the error about what is no regular file: a folder, a
	// device, a named pipe.
	ErrNotRegular = errors.New("is not a regular file")
	// ErrTooLarge is in the error about a file with more bytes than allowed.
	ErrTooLarge = errors.New("is too large")
	// ErrNotOurs is in the error about what others could have written.
	ErrNotOurs = errors.New("is not ours alone")
)

// Read returns the content of a regular file of at most limit bytes, and what the
// file was when it was opened. That is known also if the error is ErrNotRegular,
// ErrTooLarge or ErrNotOurs. It never waits for somebody to write to a pipe.
func Read(name string, limit int, trust Trust) (data []byte, info fs.FileInfo, err error) {
	flags := os.O_RDONLY | unix.O_NONBLOCK // else opening a named pipe hangs
	if trust != Follow {
		flags |= unix.O_NOFOLLOW
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err = f.Stat() // of what was opened, whatever the name means by now
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, fmt.Errorf("%s %w", name, ErrNotRegular)
	}
	if trust == Ours && !alone(info, os.Geteuid()) {
		return nil, info, fmt.Errorf("%s %w", name, ErrNotOurs)
	}
	data, err = readAll(f, limit)
	return data, info, err
}

// readAll reads an open file to its end.
func readAll(f *os.File, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, tooLarge{f.Name(), limit}
	}
	return data, nil
}

// tooLarge is an ErrTooLarge that says how large is too large.
type tooLarge struct {
	name  string
	limit int
}

func (e tooLarge) Error() string        { return fmt.Sprintf("%s has more than %d bytes", e.name, e.limit) }
func (e tooLarge) Is(target error) bool { return target == ErrTooLarge }

// alone reports whether what info is about can be written by nobody but a user and
// root.
func alone(info fs.FileInfo, user int) bool {
	return OwnerOf(info).UID == user && info.Mode().Perm()&0o022 == 0
}
