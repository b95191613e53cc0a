package resolvconf

import (
	"os"
	"path/filepath"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf/owner"
)

// Original returns the bytes of the file as it would be without Use: what stands in it,
// or stood there before Use, or stands now in what it is a symlink to, where a DHCP
// client may have written something new. No file has none. Of the Config only Path and
// State matter. It only looks, and locks nothing. Step 8 asks the resolvers named there for
// the server's address.
func Original(c Config) ([]byte, error) {
	c.setDefaults()
	name, err := owner.Key(c.Path)
	if err != nil {
		return nil, err
	}
	j, err := load(c.State+"/"+name+".json", c.Path)
	if err != nil {
		return nil, err
	}
	if j != nil && j.File != nil {
		if now, err := look(c.Path); err == nil && j.File.wrote(now) {
			if original, err := look(c.Path + aside); err == nil && j.File.isOriginal(original) {
				return original.Data, nil
			}
			return j.File.Found.behind(c.Path)
		}
	}
	return read(c.Path)
}

// behind returns the bytes that were found at path, or that stand now in what it
// was a symlink to.
func (s snapshot) behind(path string) ([]byte, error) {
	if s.Kind != isSymlink {
		return s.Data, nil
	}
	target := s.Target
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return read(target)
}

// read returns the bytes of a file. No file has none.
func read(path string) ([]byte, error) {
	s, err := lookInside(path, atomicfile.Follow)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return s.Data, err
}

// Aside returns where the original of a file is meanwhile. Step 8 moves it
// back if the journal is damaged.
func Aside(path string) string { return path + aside }
