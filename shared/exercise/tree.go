package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"stepvpn/shared/atomicfile"
)

// A state is what is in an exercise's place in the tree.
type state int

const (
	course  state = iota // the course's version
	started              // the stub, in one function at least
	own                  // something else: the learner's work
)

// A tree is the files that an exercise's holes are in, as they are and as they will be.
type tree struct {
	root  string
	files map[string]*code // by their names from the root
}

// read returns the file, from the disk the first time.
func (t *tree) read(file string) (*code, error) {
	if c := t.files[file]; c != nil {
		return c, nil
	}
	c, err := readCode(filepath.Join(t.root, file))
	if err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", file, err)
	}
	if t.files == nil {
		t.files = make(map[string]*code)
	}
	t.files[file] = c
	return c, nil
}

// put gives the hole another body, and the file the imports for it.
func (t *tree) put(h hole, body string) error {
	c, err := t.read(h.file)
	if err != nil {
		return err
	}
	if c, err = c.replace(h.file, h.name, body); err != nil {
		return fmt.Errorf("%s: %w", h.file, err)
	}
	if c, err = c.tidy(h.file, append(slices.Clone(h.imports), todoImport)); err != nil {
		return fmt.Errorf("%s: %w", h.file, err)
	}
	t.files[h.file] = c
	return nil
}

// write writes the files.
func (t *tree) write() error {
	for file, c := range t.files {
		if err := atomicfile.Write(filepath.Join(t.root, file), []byte(c.text), atomicfile.Options{Mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}

// state tells what is in the exercise's place, and where its first function is.
func (t *tree) state(e *exercise, s solution) (st state, where string, err error) {
	for _, h := range s {
		c, err := t.read(h.file)
		if err != nil {
			return 0, "", err
		}
		body, line, err := c.body(h.name)
		if err != nil {
			return 0, "", fmt.Errorf("%s: %w. %s asks for it: put it back, with any body", h.file, err, e)
		}
		if where == "" {
			where = fmt.Sprintf("%s:%d", h.file, line)
		}
		switch {
		case strings.Contains(body, stubMark(e)):
			return started, fmt.Sprintf("%s:%d", h.file, line), nil
		case strings.TrimSpace(body) != strings.TrimSpace(h.body):
			st = own
		}
	}
	return st, where, nil
}

// todoImport is the import line of package todo.
const todoImport = `	"stepvpn/shared/todo"`

// stubMark is what is in a stub and in nothing else.
func stubMark(e *exercise) string { return fmt.Sprintf("panic(todo.Exercise(%q))", e.id()) }

// stubWords is what a program says that comes to a stub.
func stubWords(e *exercise) string { return "exercise " + e.id() + " is not written yet" }

func stub(e *exercise) string {
	return fmt.Sprintf("\n\t// Exercise %s is to write this. %s says what it does, and '%s' whether it works.\n\t%s\n",
		e.id(), e.local(e.file), e.command("check"), stubMark(e))
}
