package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/config"
)

// Options say how to restore.
type Options struct {
	Dir    string           // the folder of the settings
	Allow  []string         // folders besides Dir in which files may be put
	Force  bool             // whether to replace what is there, which is kept beside
	Worker atomicfile.Owner // the user of a server's worker

	// Running returns an error if a program of that kind, whose folder state is this, runs; else a
	// function that ends the time in which it can't be started.
	Running func(kind, state string) (release func() error, err error)
}

// A draft has its file's name with a suffix, and so has what was there before.
const (
	draftSuffix = ".restored"
	asideSuffix = ".before-restore"
)

// asides returns the names that something may get when it is set aside. There are several, so that a restore after
// one that was killed can go on, and loses neither what was there before both nor what the first has put there.
func asides(path string) (list []string) {
	list = []string{path + asideSuffix}
	for n := 2; n <= 9; n++ {
		list = append(list, fmt.Sprintf("%s%s.%d", path, asideSuffix, n))
	}
	return list
}

// freeAside returns the first of these names that is free, or "".
func freeAside(path string) string {
	for _, name := range asides(path) {
		if !exists(name) {
			return name
		}
	}
	return ""
}

// A move brings a draft to its place. What is there is set aside.
type move struct {
	to      string
	draft   string // "": there is nothing to bring, but what is there has to go
	aside   string // what was there has this name now; "": it is where it was
	inPlace bool
}

// Restore puts everything in an archive where it belongs, and returns the names of what is in
// place now, and of what was there before. If it returns an error, all is as it was. If the process is
// killed meanwhile, the settings are the last thing that is missing; another call with Force does
// the rest.
func (a *Archive) Restore(o Options) (placed, before []string, err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, nil, err
	}
	parts, err := a.parts(o)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range parts {
		for _, state := range p.states(o.Dir) {
			release, err := o.Running(p.kind, state)
			if err != nil {
				return nil, nil, err
			}
			defer release()
		}
	}
	if err := a.room(parts, o.Force); err != nil {
		return nil, nil, err
	}
	var moves []*move
	defer func() {
		if err != nil {
			err = errors.Join(err, putBack(moves))
		}
	}()
	for _, p := range parts {
		if err := a.draft(p, o, &moves); err != nil {
			return nil, nil, err
		}
	}
	// First the old settings go, and last the new ones come: with half of the files, nothing starts.
	for _, m := range moves {
		if !exists(m.to) {
			continue
		}
		aside := freeAside(m.to)
		if err := os.Rename(m.to, aside); err != nil {
			return nil, nil, err
		}
		m.aside = aside
		before = append(before, aside)
	}
	for _, m := range slices.Backward(moves) {
		if m.draft == "" {
			continue
		}
		if err := os.Rename(m.draft, m.to); err != nil {
			return nil, nil, err
		}
		m.inPlace = true
		placed = append(placed, m.to)
	}
	for _, m := range moves {
		if err := atomicfile.SyncFolder(filepath.Dir(m.to)); err != nil && exists(filepath.Dir(m.to)) {
			return nil, nil, err
		}
	}
	slices.Sort(placed)
	return placed, before, nil
}

// parts returns the parts of an archive, after checking that it has nothing else, and that
// everything belongs into the folders that are allowed.
func (a *Archive) parts(o Options) (list []*part, err error) {
	left := maps.Clone(a.Files)
	for _, kind := range kinds {
		text, is := a.Files[settingsName(kind)]
		if !is {
			continue
		}
		p, err := partOf(kind, o.Dir, text)
		if err != nil {
			return nil, fmt.Errorf("the settings in the backup: %w", err)
		}
		if err := allowed(p.state, p.state, o); err != nil {
			return nil, err
		}
		for _, i := range p.items {
			text, is := left[i.name]
			switch {
			case !is && i.must:
				return nil, fmt.Errorf("the backup lacks %s, which its settings need", i.name)
			case len(text) > i.limit:
				return nil, fmt.Errorf("%s in the backup has more than %d bytes", i.name, i.limit)
			}
			if err := allowed(i.path, filepath.Dir(i.path), o); err != nil {
				return nil, err
			}
			delete(left, i.name)
		}
		if p.kind == config.KindServer {
			maps.DeleteFunc(left, func(name string, _ []byte) bool { return workerFiles[name] != "" || isUsage(name) })
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, errors.New("the backup has neither the settings of a server nor those of a client")
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the backup has a file that does not belong into one: %s", slices.Sorted(maps.Keys(left))[0])
	}
	if len(list) == 2 {
		both := &part{kind: "server and the client", items: slices.Concat(list[0].items, list[1].items), worker: list[0].worker}
		if err := both.check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// allowed returns an error unless a path is in one of the folders that the operator has named,
// and nobody else can change it on the way. The error says how to allow the folder.
func allowed(path, folder string, o Options) error {
	folders := append([]string{o.Dir}, o.Allow...)
	if !slices.ContainsFunc(folders, func(f string) bool { return within(f, path) }) {
		return app.Hint(fmt.Errorf("the settings in the backup name %s, which is outside of %s", app.Printable(path), strings.Join(folders, " and ")),
			"If that is as it should be, allow it: -allow %s", app.Printable(folder))
	}
	return atomicfile.Kind{Name: "the place"}.CheckFolders(path)
}

// room returns an error if something is where files are to be put.
func (a *Archive) room(parts []*part, force bool) error {
	var there []string
	for _, p := range parts {
		for _, path := range p.places() {
			if force && exists(path) && freeAside(path) == "" {
				return app.Hint(fmt.Errorf("%s is there already, and so are others, from restores before this one", path+asideSuffix),
					"Move these elsewhere: they are what was there before, and some may be the only copies of keys.")
			}
			if exists(path) {
				there = append(there, path)
			}
		}
	}
	if len(there) > 0 && !force {
		return app.Hint(fmt.Errorf("this is there already: %s", strings.Join(there, ", ")),
			"Nothing was changed. -force replaces it, and keeps what is there under the same names with %s at the end.", asideSuffix)
	}
	return nil
}

// states returns the folders that a program may run with: that of the part, and that of the settings that are there
// now.
func (p *part) states(dir string) []string {
	text, _, err := atomicfile.Read(settingsPath(dir, p.kind), maxSettings, atomicfile.Follow)
	if err != nil {
		return []string{p.state}
	}
	now, err := partOf(p.kind, dir, text)
	if err != nil || filepath.Clean(now.state) == filepath.Clean(p.state) {
		return []string{p.state} // nothing starts with settings that are wrong
	}
	return []string{p.state, now.state}
}

// places returns the paths of all that a part may have.
func (p *part) places() (list []string) {
	for _, i := range p.items {
		list = append(list, i.path)
	}
	if p.worker != "" {
		list = append(list, p.worker)
	}
	return list
}

// draft writes the files of a part beside their places.
func (a *Archive) draft(p *part, o Options, moves *[]*move) error {
	for _, i := range p.items {
		m := &move{to: i.path}
		*moves = append(*moves, m)
		text, is := a.Files[i.name]
		if !is {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(i.path), 0o700); err != nil {
			return err
		}
		m.draft = i.path + draftSuffix
		if err := atomicfile.Write(m.draft, text, atomicfile.Options{}); err != nil {
			return err
		}
	}
	if p.worker == "" {
		return nil
	}
	m := &move{to: p.worker}
	*moves = append(*moves, m)
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return err
	}
	m.draft = p.worker + draftSuffix
	return a.draftWorker(m.draft, o.Worker)
}

// draftWorker makes the folder of a server's worker, in the form that the keeper gives it: the
// folder belongs to the keeper, and the one for leases to the worker.
func (a *Archive) draftWorker(folder string, owner atomicfile.Owner) error {
	if err := os.RemoveAll(folder); err != nil { // what a killed restore has left
		return err
	}
	pool := filepath.Join(folder, "pool")
	if err := os.MkdirAll(pool, 0o700); err != nil {
		return err
	}
	var made []string // which are given to the worker when all are there
	write := func(at string, text []byte) error {
		made = append(made, at)
		return atomicfile.Write(at, text, atomicfile.Options{})
	}
	for name, at := range workerFiles {
		if text, is := a.Files[name]; is {
			if err := write(filepath.Join(folder, at), text); err != nil {
				return err
			}
		}
	}
	for name, text := range a.Files {
		if !isUsage(name) {
			continue
		}
		usage := filepath.Join(folder, usageFolder)
		if !exists(usage) {
			if err := os.Mkdir(usage, 0o700); err != nil {
				return err
			}
			made = append(made, usage)
		}
		if err := write(filepath.Join(usage, strings.TrimPrefix(name, usageName)), text); err != nil {
			return err
		}
	}
	for _, name := range append(made, pool) {
		if err := os.Lchown(name, owner.UID, owner.GID); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return os.Chmod(folder, 0o711)
}

// putBack undoes moves, and removes drafts.
func putBack(moves []*move) (err error) {
	for _, m := range moves {
		if m.inPlace {
			err = errors.Join(err, os.RemoveAll(m.to))
		}
		if m.aside != "" {
			err = errors.Join(err, os.Rename(m.aside, m.to))
		}
		if m.draft != "" {
			if e := os.RemoveAll(m.draft); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}
