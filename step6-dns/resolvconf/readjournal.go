package resolvconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/atomicfile"
)

// load reads the journal about the file at path. It returns nil if there is no journal.
func load(name, path string) (*journal, error) {
	data, err := atomicfile.ReadOwn(name, maxJournal)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	j, err := parseJournal(data)
	if err == nil && j.Path != path {
		return nil, fmt.Errorf("it is about %q, not %s", j.Path, path)
	}
	return j, err
}

// parseJournal reads a journal, and refuses any that Use would not have written.
func parseJournal(data []byte) (*journal, error) {
	// Of a later version, only the number need make sense.
	var v struct{ Version int }
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if v.Version != version {
		return nil, fmt.Errorf("it is of version %d, this program knows %d", v.Version, version)
	}
	j := new(journal)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(j); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if !isDevice(j.Device) || j.Index <= 0 {
		return nil, fmt.Errorf("device %.80q with index %d cannot be", j.Device, j.Index)
	}
	if j.File != nil {
		if err := j.File.check(); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// check returns an error unless Use may have found and written that.
func (f *fileChange) check() error {
	found := f.Found
	if f.Stub != (len(f.Written) == 0) || f.Stub && f.InPlace || len(f.Written) > maxFile || len(found.Data) > maxFile {
		return errors.New("the file's content cannot be")
	}
	if found.UID < 0 || found.GID < 0 || found.Mode&^fs.ModePerm != 0 {
		return errors.New("the file's owner or mode cannot be")
	}
	switch found.Kind {
	case isFile:
		if found.Target == "" {
			return nil
		}
	case isAbsent:
		if found.Target == "" && len(found.Data) == 0 && !f.InPlace {
			return nil
		}
	case isSymlink:
		if found.Target != "" && len(found.Target) <= maxTarget && !strings.Contains(found.Target, "\x00") && len(found.Data) == 0 && !f.InPlace {
			return nil
		}
	}
	return fmt.Errorf("a file of kind %.80q with these properties cannot be", found.Kind)
}

// Damaged is the error about a file of the state, a journal or its lock, that this package
// has not written, or that somebody has changed. Step 8 sets such a file aside.
type Damaged struct {
	File string // its path; "" if there is none, though there should be
	Err  error
}

// Limits of a journal. Beyond them it is not one of ours.
const (
	maxJournal = 4 * maxFile // bytes; the contents stand there in base64
	maxTarget  = unix.PathMax - 1
)

func (d *Damaged) Error() string { return d.Err.Error() }
func (d *Damaged) Unwrap() error { return d.Err }
