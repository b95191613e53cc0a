package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// This file reads the registry's file with care, replaces it in one move, and locks it, so
// that one program at a time edits it. create makes a new file (registry or client's), and
// never overwrites one.

// Load reads the registry in a file. It refuses a file that is not a regular file, or
// that others may change or replace (see atomicfile.Kind). It follows symbolic links.
func Load(path string) (*Registry, error) { return load(path, path) }

// load reads the registry of path from at, which is path or a copy of it.
func load(path, at string) (*Registry, error) {
	text, _, err := readRegistry(path, at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, NoRegistry(path)
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// NoRegistry returns the error that there is no registry at path, with a hint.
func NoRegistry(path string) error {
	return app.Hint(fmt.Errorf("there is no registry %s", path),
		"'clients init -registry %s' makes it, with a key for the server; so does adding the first client.", path)
}

// readRegistry reads the text of a registry, and returns what the file was when
// it was opened.
func readRegistry(path, at string) (string, fs.FileInfo, error) {
	text, info, err := read(at, MaxFile)
	if err != nil {
		return "", nil, err
	}
	if at != path {
		return text, info, nil // whoever made the copy has checked the file
	}
	return text, info, Kind.Check(path, info)
}

// Kind says which users may be able to change a registry.
var Kind = atomicfile.Kind{Name: "registry", Cure: "Whoever can write it decides who gets in."}

// read reads a regular file of at most limit bytes.
func read(path string, limit int) (string, fs.FileInfo, error) {
	text, info, err := atomicfile.Read(path, limit, atomicfile.Follow)
	if errors.Is(err, fs.ErrPermission) {
		err = app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	}
	return string(text), info, err
}

// replace replaces a file by one with a new text, atomically. old is the file as it was,
// whose mode and owner are kept; nil means that there is no file yet.
func replace(path, text string, old fs.FileInfo) error {
	var o atomicfile.Options
	if old != nil {
		owner := atomicfile.OwnerOf(old)
		o.Mode, o.Owner = old.Mode().Perm(), &owner
	}
	err := atomicfile.Write(path, []byte(text), o)
	if errors.Is(err, fs.ErrPermission) {
		return app.Hint(err, "The file is replaced as a whole, by one with the same owner. Run this as its owner, who must be allowed to write to its folder, or as root.")
	}
	return err
}

// create writes a new file of mode 0600. It never overwrites one, and if it fails, it
// leaves none.
func create(path, text string) error {
	return atomicfile.Write(path, []byte(text), atomicfile.Options{Exclusive: true})
}

// lockWait is how long a program waits for others that edit the file.
const lockWait = 30 * time.Second

// lock waits until no other program edits a file. Closing what it returns lets the next
// program go on; so does the end of this one.
func lock(path string) (io.Closer, error) {
	held, err := atomicfile.OpenLock(path+".lock", lockWait)
	switch {
	case errors.Is(err, atomicfile.ErrLocked):
		return nil, app.Hint(fmt.Errorf("another program has been editing %s for %v", path, lockWait),
			"'fuser %s.lock' shows which. If there is none, remove that file.", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, app.Hint(&fs.PathError{Op: "open", Path: filepath.Dir(path), Err: unix.ENOENT}, writable)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOTDIR):
		return nil, app.Hint(err, writable)
	case err != nil:
		return nil, err
	}
	return held, nil
}

const writable = "Choose a file in a folder that exists and that you may write to."
