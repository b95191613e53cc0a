package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Trust says which files a function accepts.
type Trust int

const (
	Follow   Trust = iota // any file; if the last element of the path is a symlink, it is followed
	NoFollow              // any file but a symlink
	Ours                  // no symlink, and nobody but this user and root could have written it
)

var (
	// ErrNotRegular is in the error for anything but a regular file, such as a folder,
	// a device or a named pipe.
	ErrNotRegular = errors.New("is not a regular file")
	// ErrTooLarge is in the error for a file with more bytes than allowed.
	ErrTooLarge = errors.New("is too large")
	// ErrNotOurs is in the error for a file or folder that others could have written.
	ErrNotOurs = errors.New("is not ours alone")
)

// Read returns the content of a regular file of at most limit bytes, and the properties of
// the file that it opened. It returns these even if the error is ErrNotRegular,
// ErrTooLarge or ErrNotOurs. It never waits for a writer of a named pipe.
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
	info, err = f.Stat() // of the opened file: the name may lead to another one by now
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

// alone reports whether nobody but a user and root can write the file that info describes.
func alone(info fs.FileInfo, user int) bool {
	return OwnerOf(info).UID == user && info.Mode().Perm()&0o022 == 0
}

// ReadOwn is Read for a file that only this program writes. Its errors do not have the
// file's name: they are for a caller that names the file.
func ReadOwn(name string, limit int) ([]byte, error) {
	data, _, err := Read(name, limit, Ours)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	case errors.Is(err, ErrNotRegular), errors.Is(err, ErrNotOurs):
		return nil, errors.New("it is not ours alone")
	}
	return data, err
}
