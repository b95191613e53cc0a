// Package keyfile keeps a secret key in a file that only its owner may read.
// Introduced in step 4.
//
// The file has one line: the 32 bytes of the key in base64 (RFC 4648, section 4).
package keyfile

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"stepvpn/shared/app"
)

// Size is the length of a key in bytes.
const Size = 32

// maxFile bounds what is read, in bytes: a key and some white space.
const maxFile = 128

// Create writes a new random key to a new file of mode 0600. It never overwrites
// a file: a key that is gone can't be had back. If it fails, it leaves no file.
func Create(name string) error {
	var key [Size]byte
	rand.Read(key[:]) // never fails: it ends the process instead
	text := base64.StdEncoding.EncodeToString(key[:]) + "\n"

	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return app.Hint(fmt.Errorf("%s exists already, and is left as it is", name),
			"Choose another name with -out, or remove the file if nobody uses its key any more.")
	case err != nil:
		return app.Hint(err, "Choose a file in a folder that exists and that you may write to.")
	}
	if err := fill(f, text); err != nil {
		f.Close()
		os.Remove(name)
		return fmt.Errorf("%w; no key file is left", err)
	}
	return nil
}

// fill writes the file, and returns once it will survive a power failure.
func fill(f *os.File, text string) error {
	if err := f.Chmod(0o600); err != nil { // a umask can take bits from OpenFile's mode
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.Name()))
}

// syncFolder makes the names in a folder survive a power failure.
func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Read returns the key in the file. It refuses a file that group or others may
// read or change, and one that does not hold exactly one key. A symbolic link is
// followed: what counts is who may read the file that is opened.
func Read(name string) (key [Size]byte, err error) {
	// O_NONBLOCK: opening a named pipe must not hang.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return key, app.Hint(fmt.Errorf("there is no key file %s", name),
			"Make one with 'keygen -out %s', and copy it to the other side.", name)
	}
	if errors.Is(err, fs.ErrPermission) {
		return key, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	}
	if err != nil {
		return key, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, whatever the name means by now
	if err != nil {
		return key, err
	}
	if !info.Mode().IsRegular() {
		return key, app.Hint(fmt.Errorf("key file %s is not a regular file", name),
			"A key file has one line, with the key in base64.")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return key, app.Hint(fmt.Errorf("key file %s may be read or changed by others than its owner (mode %#o)", name, mode),
			"If nobody has read it so far, type: chmod 600 %s. Otherwise make a new key.", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return key, err
	}
	// Strict: the unused bits of the last character are zero, so that a key has
	// one spelling only.
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(text) > maxFile {
		return key, app.Hint(fmt.Errorf("key file %s does not hold a key in base64", name),
			"It should be one line of 44 characters.")
	}
	if len(decoded) != Size {
		return key, app.Hint(fmt.Errorf("key file %s holds %d bytes, a key has %d", name, len(decoded), Size),
			"Copy the whole file from the other side, or make a new key with keygen.")
	}
	return [Size]byte(decoded), nil
}
