package resolvconf

import (
	"bytes"
	"path/filepath"
	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf/owner"
)

// A file that can't be replaced is overwritten, in such a way that a crash half-way can be
// recognised.

// mustOverwrite reports whether the file has to be written in place: another cannot take its
// place if it is a mount, or if its directory can't be written to.
func (f *fileChange) mustOverwrite(path string, way owner.Way) bool {
	return way == owner.Overwrite || f.Found.Kind == isFile && mayChangeNames(filepath.Dir(path)) != nil
}

// pad makes what is written no shorter than what was found, by empty lines. Otherwise the
// way back would need room that another program may have taken on a full disk meanwhile.
func (f *fileChange) pad() {
	if missing := len(f.Found.Data) - len(f.Written); missing > 0 {
		f.Written = append(f.Written, bytes.Repeat([]byte("\n"), missing)...)
	}
}

// torn reports whether a file that is written in place was written half, in either direction.
func (f *fileChange) torn(now snapshot) bool {
	return f.InPlace && now.Kind == isFile &&
		(atomicfile.Torn(now.Data, f.Found.Data, f.Written) || atomicfile.Torn(now.Data, f.Written, f.Found.Data))
}
