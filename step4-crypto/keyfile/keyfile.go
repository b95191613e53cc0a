// Package keyfile keeps a secret key in a file that only its owner may read.
// Introduced in step 4.
//
// The file has one line: the 32 bytes of the key in base64 (RFC 4648, section 4).
package keyfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

// Size is the length of a key in bytes.
const Size = noise.KeyLen

// maxFile bounds what is read, in bytes: a key and some white space.
const maxFile = 128

var kind = atomicfile.Kind{Name: "key file", Secret: true, Cure: "Otherwise make a new key."}

// white lists the characters that may surround a key: spaces, line ends, and the byte
// order mark that some editors put at the beginning of a file.
const white = " \t\r\n\ufeff"

// Create writes a new random key to a new file of mode 0600. It never overwrites
// a file: a lost key can't be recovered. If it fails, it leaves no file.
func Create(name string) error {
	var key [Size]byte
	rand.Read(key[:]) // never fails: it ends the process instead
	text := noise.FormatKey(key) + "\n"

	err := atomicfile.Write(name, []byte(text), atomicfile.Options{Exclusive: true})
	switch {
	case errors.Is(err, fs.ErrExist):
		return app.Hint(fmt.Errorf("%s exists already, and is left as it is", name),
			"Choose another name with -out, or remove the file if nobody uses its key any more.")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission),
		errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS):
		return app.Hint(err, "Choose a file in a folder that exists and that you may write to.")
	case err != nil:
		return fmt.Errorf("%w; no key file is left", err)
	}
	return nil
}

// Read returns the key in the file. It refuses a file that others may read, change or
// replace (see atomicfile.Kind), and one that does not hold exactly one key. A symbolic
// link is followed: the permissions that count are those of the file that it leads to.
func Read(name string) (key [Size]byte, err error) {
	text, info, err := atomicfile.Read(name, maxFile, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return key, app.Hint(fmt.Errorf("there is no key file %s", name),
			"Make one with 'keygen -out %s', and copy it to the other side.", name)
	case errors.Is(err, fs.ErrPermission):
		return key, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	case errors.Is(err, atomicfile.ErrNotRegular):
		return key, app.Hint(fmt.Errorf("key file %w", err), "A key file has one line, with the key in base64.")
	case err != nil && !errors.Is(err, atomicfile.ErrTooLarge):
		return key, err
	}
	if err := kind.Check(name, info); err != nil {
		return key, err
	}
	if err == nil {
		key, err = noise.ParseKey[[Size]byte](strings.Trim(string(text), white))
	}
	if _, wrong := errors.AsType[noise.KeyLenError](err); wrong {
		return key, app.Hint(fmt.Errorf("key file %s holds %w", name, err),
			"Copy the whole file from the other side, or make a new key with keygen.")
	}
	if err != nil {
		return key, app.Hint(fmt.Errorf("key file %s does not hold a key in base64", name),
			"It should be one line of 44 characters.")
	}
	return key, nil
}
