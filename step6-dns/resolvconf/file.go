package resolvconf

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"stepvpn/shared/atomicfile"
)

// aside is added to the file's name for the original while ours stands in its
// place; before, ours is written there.
const aside = ".before-stepvpn"

// Aside returns where the original of a file is meanwhile.
func Aside(path string) string { return path + aside }

// newMode is for a file where there was none.
const newMode = 0o644

// A fileChange is what is done to the file. It is part of the journal.
type fileChange struct {
	InPlace bool     `json:"inPlace,omitempty"` // else it is exchanged
	Found   snapshot `json:"found"`
	Written []byte   `json:"written,omitempty"` // what our file says
	Stub    bool     `json:"stub,omitempty"`    // ours is a symlink to systemd-resolved's stub instead
}

// takeOver puts the text in the place of what was found. What it leaves when it
// fails, or is killed, putBack undoes.
func (f *fileChange) takeOver(path string) error {
	if f.InPlace {
		return atomicfile.Overwrite(path, f.Found.Data, f.Written, atomicfile.Options{Trace: step})
	}
	ours := snapshot{Kind: isFile, Data: f.Written, Mode: newMode, UID: os.Geteuid(), GID: os.Getegid()}
	switch {
	case f.Stub:
		ours = snapshot{Kind: isSymlink, Target: stubs[0], UID: os.Geteuid(), GID: os.Getegid()}
	case f.Found.Kind == isFile:
		ours.Mode, ours.UID, ours.GID = f.Found.Mode, f.Found.UID, f.Found.GID
	}
	if err := ours.create(path+aside, path); err != nil {
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

// putBack makes the file what was found, whatever of takeOver was done. It
// leaves alone what another program put there.
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
	step("rm -f %s", path+aside)
	if err := os.Remove(path + aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return left, err
	}
	return left, syncDir(filepath.Dir(path))
}

// isOriginal tells whether what was set aside is the file that was found, perhaps with what
// a program that had it open has gone on to write.
func (f *fileChange) isOriginal(aside snapshot) bool {
	return !f.InPlace && f.Found.Kind == isFile && aside.Kind == isFile
}

// moveBack puts the original back, if there was one, with what a program that had it open
// has gone on to write. Should it not be there, because the filesystem can't exchange
// files, or somebody removed it, it is made anew.
func (f *fileChange) moveBack(path string) error {
	if f.Found.Kind == isAbsent {
		step("rm %s", path)
		return os.Remove(path)
	}
	original, err := look(path + aside)
	if err != nil {
		return err
	}
	if !original.same(f.Found) && !f.isOriginal(original) {
		step("rm -f %s", path+aside)
		if err := os.Remove(path + aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := f.Found.create(path+aside, path); err != nil {
			return err
		}
	}
	step("mv -T %s %s", path+aside, path)
	return os.Rename(path+aside, path)
}

// wrote reports whether now is our work, done or half done.
func (f *fileChange) wrote(now snapshot) bool {
	if f.Stub {
		return now.Kind == isSymlink && now.Target == stubs[0]
	}
	if now.Kind != isFile {
		return false
	}
	return bytes.Equal(now.Data, f.Written) ||
		f.InPlace && (atomicfile.Torn(now.Data, f.Found.Data, f.Written) || atomicfile.Torn(now.Data, f.Written, f.Found.Data))
}
