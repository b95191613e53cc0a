package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// workFactor is the logarithm of scrypt's cost: 2^18 takes a second and 256 MiB, and is what
// age itself chooses. A file that asks for more is refused.
const workFactor = 18

// MinPassphrase is the length of the shortest passphrase that is taken for a new archive, in bytes.
const MinPassphrase = 12

// manifestName is the name of the manifest in the archive.
const manifestName = "manifest.json"

const maxManifest = 4 << 10 // bytes

// Save writes an archive to a new file of mode 0600, encrypted. If there is such a file, the error
// is fs.ErrExist.
func (a *Archive) Save(file, passphrase string) error {
	sealed, err := a.seal(passphrase, workFactor)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, sealed, atomicfile.Options{Exclusive: true})
}

// Load reads an archive that Save has written. The error says if the passphrase is wrong, or the
// file is damaged.
func Load(file, passphrase string) (*Archive, error) {
	sealed, _, err := atomicfile.Read(file, maxTotal+maxTotal/8, atomicfile.Follow)
	if err != nil {
		return nil, err
	}
	a, err := open(sealed, passphrase)
	if err != nil {
		return nil, app.Hint(fmt.Errorf("%s: %w", file, err), "%s", strings.TrimSpace("Nothing was changed. "+app.HintOf(err)))
	}
	return a, nil
}

func (a *Archive) seal(passphrase string, workFactor int) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, app.Hint(fmt.Errorf("the passphrase has less than %d bytes", MinPassphrase),
			"All keys are in the backup: who has the file can try passphrases for as long as they like. Several random words make a good one.")
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(workFactor)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err != nil {
		return nil, err
	}
	if err := a.pack(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func open(sealed []byte, passphrase string) (*Archive, error) {
	by, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	by.SetMaxWorkFactor(workFactor)
	r, err := age.Decrypt(bytes.NewReader(sealed), by)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, errors.New("the passphrase is wrong, or the file is damaged")
	}
	if err != nil {
		return nil, app.Hint(fmt.Errorf("it is not a backup, or it is damaged: %w", err), "'stepvpn backup' makes one.")
	}
	return unpack(r)
}

// pack writes the archive as a tar file.
func (a *Archive) pack(to io.Writer) error {
	manifest, err := json.MarshalIndent(a.Manifest, "", "  ")
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	add := func(name string, text []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o600, ModTime: a.Made, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	if err := add(manifestName, append(manifest, '\n')); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Files)) {
		if err := add(name, a.Files[name]); err != nil {
			return err
		}
	}
	return w.Close()
}

// unpack reads a tar file. Which files belong into the archive, Restore looks at.
func unpack(from io.Reader) (*Archive, error) {
	a := &Archive{Files: make(map[string][]byte)}
	r := tar.NewReader(io.LimitReader(from, maxTotal+maxFiles*2048))
	text, name, err := next(r, maxManifest)
	switch {
	case err != nil:
		return nil, damaged(err)
	case name != manifestName || json.Unmarshal(text, &a.Manifest) != nil || a.Format != Format:
		return nil, fmt.Errorf("it is not a backup of this program: it does not begin with its %s", manifestName)
	case a.Version > Version:
		return nil, app.Hint(fmt.Errorf("a newer version of this program has made it (%s)", app.Printable(a.Program)), "Update this program.")
	case a.Version < 1:
		return nil, fmt.Errorf("it has version %d, which there is not", a.Version)
	}
	for left := maxTotal; ; {
		text, name, err := next(r, left)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, damaged(err)
		}
		if _, twice := a.Files[name]; twice || len(a.Files) == maxFiles {
			return nil, fmt.Errorf("it has %s twice, or more than %d files", app.Printable(name), maxFiles)
		}
		a.Files[name] = text
		left -= len(text)
	}
	// What is behind the end belongs to what age has authenticated, too.
	if _, err := io.Copy(io.Discard, io.LimitReader(from, maxTotal)); err != nil {
		return nil, damaged(err)
	}
	return a, nil
}

// next reads the next file of a tar file, of at most limit bytes.
func next(r *tar.Reader, limit int) (text []byte, name string, err error) {
	h, err := r.Next()
	if err != nil {
		return nil, "", err
	}
	if h.Typeflag != tar.TypeReg || len(h.Name) > 100 || strings.ContainsFunc(h.Name, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, "", fmt.Errorf("%s is not a regular file with a name of ours", app.Printable(h.Name))
	}
	if h.Size < 0 || h.Size > int64(limit) {
		return nil, "", fmt.Errorf("%s has %d bytes, more than a backup has room for", h.Name, h.Size)
	}
	text, err = io.ReadAll(r)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return text, h.Name, err
}

// damaged returns the error for an archive that can't be read to its end.
func damaged(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("it is damaged: %w", err)
}
