package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// Load reads the registry in a file. It refuses a file that is not a regular
// one, or that group or others may write. A symbolic link is followed.
func Load(path string) (*Registry, error) {
	text, _, err := readRegistry(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noRegistry(path)
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

func noRegistry(path string) error {
	return app.Hint(fmt.Errorf("there is no registry %s", path),
		"'clients init -registry %s' makes it, with a key for the server; so does adding the first client.", path)
}

// readRegistry reads the text of a registry, and returns what the file was when
// it was opened.
func readRegistry(path string) (string, fs.FileInfo, error) {
	text, info, err := read(path, maxFile)
	if err != nil {
		return "", nil, err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return "", nil, app.Hint(fmt.Errorf("registry %s may be written by others than its owner (mode %#o)", path, mode),
			"Who writes it decides who comes in. Look whether it is as it should be, then type: chmod go-w %s", path)
	}
	return text, info, nil
}

// read reads a regular file of at most so many bytes.
func read(path string, limit int64) (string, fs.FileInfo, error) {
	// O_NONBLOCK: opening a named pipe must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return "", nil, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, whatever the name means by now
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", nil, err
	}
	if int64(len(text)) > limit {
		return "", nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return string(text), info, nil
}

// replace puts a new text into a file in one move: whoever opens it finds the
// old text or the new one, also after a power failure. old is the file as it was:
// its mode and owner are kept. nil means that there is none yet.
func replace(path, text string, old fs.FileInfo) error {
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return err
	}
	if err := create(draft, text, old); errors.Is(err, fs.ErrPermission) {
		return app.Hint(err, "The file is replaced as a whole, so you must be allowed to write to its folder.")
	} else if err != nil {
		return err
	}
	if err := os.Rename(draft, path); err != nil {
		os.Remove(draft)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// create writes a new file of mode 0600, or with the mode and the owner of
// another. It never overwrites one, and if it fails, it leaves none.
func create(path, text string, like fs.FileInfo) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, text, like); err != nil {
		f.Close()
		os.Remove(path)
		return err
	}
	return nil
}

// fill writes a new file, and returns once its content will survive a power
// failure.
func fill(f *os.File, text string, like fs.FileInfo) error {
	mode := fs.FileMode(0o600) // a umask can take bits from OpenFile's mode
	if like != nil {
		mode = like.Mode().Perm()
		want := like.Sys().(*syscall.Stat_t)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if is := info.Sys().(*syscall.Stat_t); is.Uid != want.Uid || is.Gid != want.Gid {
			if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
				return app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
			}
		}
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncFolder makes the names in a folder survive a power failure.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// lock waits up to 30 s until no other program edits a file in the folder, and
// returns what to close to let the next one (flock(2)). If the program ends, that
// is closed too.
func lock(folder string) (io.Closer, error) {
	dir, err := os.OpenFile(folder, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, app.Hint(err, "Choose a file in a folder that exists and that you may write to.")
	}
	const tries, pause = 3000, 10 * time.Millisecond
	for range tries {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return dir, nil
		}
		time.Sleep(pause)
	}
	dir.Close()
	return nil, fmt.Errorf("another program has locked %s: %w", folder, err)
}
