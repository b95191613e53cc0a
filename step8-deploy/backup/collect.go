package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// Collect reads all that belongs to the server and the client whose settings are in a folder, as
// server.toml and client.toml; one of them may be missing. The programs may run meanwhile. The
// release is that of this program.
func Collect(dir, release string) (*Archive, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	a := &Archive{
		Manifest: Manifest{Format, Version, time.Now().UTC().Truncate(time.Second), host, release},
		Files:    make(map[string][]byte),
	}
	found := false
	for _, kind := range kinds {
		text, _, err := atomicfile.Read(settingsPath(dir, kind), maxSettings, atomicfile.Follow)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := partOf(kind, dir, text)
		if err != nil {
			return nil, err
		}
		if err := a.collect(p); err != nil {
			return nil, err
		}
		found = true
	}
	if !found {
		return nil, app.Hint(fmt.Errorf("there is nothing to back up: %s has neither server.toml nor client.toml", dir),
			"-dir names another folder.")
	}
	return a, a.check()
}

// collect reads the files of a part.
func (a *Archive) collect(p *part) error {
	for _, i := range p.items {
		text, _, err := atomicfile.Read(i.path, i.limit, atomicfile.Follow)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !i.must:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("the settings of the %s name %s, which does not exist", p.kind, i.path)
		case err != nil:
			return err
		}
		a.Files[i.name] = text
	}
	if p.worker == "" {
		return nil
	}
	// The worker, which may be an attacker's by now, decides what is in the folder pool. An os.Root
	// is not led out of the folder that it was opened for.
	root, err := os.OpenRoot(p.worker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was never started
	}
	if err != nil {
		return err
	}
	defer root.Close()
	for name, at := range workerFiles {
		if err := a.take(root, at, name); err != nil {
			return err
		}
	}
	folder, err := root.Open(usageFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(maxFiles)
	if err != nil && err != io.EOF {
		return err
	}
	slices.Sort(names)
	for _, base := range names {
		// A draft is not a file of the folder yet.
		if name := usageName + base; isUsage(name) && path.Ext(base) != ".new" {
			if err := a.take(root, filepath.Join(usageFolder, base), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// take reads a file in the worker's folder, if there is one.
func (a *Archive) take(root *os.Root, at, name string) error {
	f, err := root.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", root.Name(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil // it is nothing of ours
	}
	text, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err == nil && len(text) > maxList {
		err = fmt.Errorf("%s/%s has more than %d bytes", root.Name(), at, maxList)
	}
	a.Files[name] = text
	return err
}

// check returns an error if the archive is larger than Read allows.
func (a *Archive) check() error {
	total := 0
	for _, text := range a.Files {
		total += len(text)
	}
	if total > maxTotal || len(a.Files) > maxFiles {
		return fmt.Errorf("there are %d files with %d bytes; a backup has room for %d with %d", len(a.Files), total, maxFiles, maxTotal)
	}
	return nil
}
