package usage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Damage is a file of which a part is lost.
type Damage struct {
	File string
	Why  error // nil if the file was set aside earlier, with the parts that could be read kept
}

// Check returns what is damaged of the files in the folder pool, and what a start has set aside because
// it was. Files that end in the middle, as after a power cut or while a server writes, are not damaged.
// It changes nothing. A server that runs does no harm.
func Check(pool string) (found []Damage, err error) {
	outer, err := os.OpenRoot(pool)
	if err != nil {
		return nil, none(err)
	}
	defer outer.Close()
	if _, err := outer.Lstat(folderName + asideSuffix); err == nil {
		found = append(found, Damage{File: filepath.Join(pool, folderName+asideSuffix)})
	}
	if info, err := outer.Lstat(folderName); err != nil || !info.IsDir() {
		if err == nil {
			found = append(found, Damage{filepath.Join(pool, folderName), errNoFolder})
		}
		return found, none(err)
	}
	root, err := outer.OpenRoot(folderName)
	if err != nil {
		return found, err
	}
	defer root.Close()
	if _, err := root.Lstat(damagedName); err == nil {
		found = append(found, Damage{File: filepath.Join(pool, folderName, damagedName)})
	}
	all, err := list(root)
	if err != nil {
		return found, err
	}
	for i, ring := range all {
		for _, g := range ring {
			d := newDecoder(rings[i])
			_, err := g.read(root, func(_ header, body io.Reader) error {
				return d.decode(body, func(int64, Client, Counts) bool { return true })
			})
			switch {
			case err == nil || errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist):
			case isDamage(err):
				found = append(found, Damage{filepath.Join(pool, folderName, g.name), err})
			default:
				return found, err
			}
		}
	}
	return found, nil
}

var errNoFolder = errors.New("it is not a folder")

// none makes no error of one that says that there is nothing.
func none(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
