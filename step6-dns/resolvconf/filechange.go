package resolvconf

import (
	"errors"
	"os"
	"path/filepath"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf/owner"
)

// A fileChange says what was found and what we write; it is part of the journal. Our
// resolv.conf takes the place of the one that was found (takeOver), and later that one is put
// back (putBack), from wherever a crash interrupted it.
type fileChange struct {
	InPlace bool     `json:"inPlace,omitempty"` // overwritten, as a mount can't be exchanged: inplace.go
	Found   snapshot `json:"found"`
	Written []byte   `json:"written,omitempty"` // what our file says
	Stub    bool     `json:"stub,omitempty"`    // ours is a symlink to owner.Stub instead
}

// aside is added to the file's name for the original while ours stands in its
// place; before, ours is written there.
const aside = ".before-stepvpn"

// newMode is for a file where there was none.
const newMode = 0o644

// plan says what is to be done to the file, and refuses what would fail.
func plan(c Config, found snapshot, way owner.Way) (*fileChange, error) {
	f := &fileChange{Found: found, Stub: way == owner.Link}
	if !f.Stub {
		now, _ := lookInside(c.Path, atomicfile.Follow) // if it can't be read, it has no options to keep
		f.Written = c.text(now.Data)
	}
	if f.mustOverwrite(c.Path, way) {
		f.InPlace = true
		f.pad() // with empty lines, to no less than the original's length
	}
	return f, f.refuse(c.Path)
}

// takeOver puts ours in the place of what was found. What it leaves when it
// fails, or is killed, putBack undoes.
func (f *fileChange) takeOver(path string) error {
	if f.InPlace {
		return atomicfile.Overwrite(path, f.Found.Data, f.Written, atomicfile.Options{Trace: step})
	}
	if err := f.ours().create(path+aside, path); err != nil {
		return err
	}
	if now, err := look(path); err != nil || !now.same(f.Found) {
		return errors.Join(err, atomicfile.ErrChanged)
	}
	if err := exchange(path+aside, path, f.Found.Kind == isAbsent); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// ours is what takes the place: of the same owner and mode, so that everybody who could
// read the one can read the other.
func (f *fileChange) ours() snapshot {
	s := snapshot{Kind: isFile, Data: f.Written, Mode: newMode, UID: os.Geteuid(), GID: os.Getegid()}
	if f.Stub {
		s.Kind, s.Target = isSymlink, owner.Stub
	} else if f.Found.Kind == isFile {
		s.Mode, s.UID, s.GID = f.Found.Mode, f.Found.UID, f.Found.GID
	}
	return s
}

// putBack makes the file what was found, whatever of takeOver was done: nothing, a part, or
// all. It leaves alone what another program put there, and reports that as left. In either
// case nothing of ours stays behind: where the file was exchanged, what is beside it (aside)
// is removed, and the directory is written to the disk.
//
//exercise:2
func (f *fileChange) putBack(path string) (left bool, err error) {
	now, err := look(path)
	if err != nil {
		return false, err
	}
	switch {
	case now.same(f.Found):
	case !f.wrote(now):
		left = true
	case f.InPlace:
		return false, atomicfile.Overwrite(path, now.Data, f.Found.Data, atomicfile.Options{Trace: step})
	default:
		err = f.moveBack(path)
	}
	if err != nil || f.InPlace {
		return left, err
	}
	if err := remove(path + aside); err != nil {
		return left, err
	}
	return left, syncDir(filepath.Dir(path))
}

// wrote reports whether now is our work, done or half done (torn: overwritten up to a point).
func (f *fileChange) wrote(now snapshot) bool { return now.same(f.ours()) || f.torn(now) }

// moveBack puts the original back, if there was one.
func (f *fileChange) moveBack(path string) error {
	if f.Found.Kind == isAbsent {
		step("rm %s", path)
		return os.Remove(path)
	}
	if err := f.setAsideAgain(path); err != nil { // where files can't be exchanged, only the journal has it
		return err
	}
	step("mv -T %s %s", path+aside, path)
	return os.Rename(path+aside, path)
}
