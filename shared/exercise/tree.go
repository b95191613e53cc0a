package main

import (
	"errors"
	"fmt"
	"os"
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
	broken               // a file that can't be parsed
)

// A tree is the files that an exercise's holes are in, as they are and as they will be.
type tree struct {
	root    string
	files   map[string]*code // by their names from the root
	changed []string         // those that are not as on the disk
}

// read returns the file, from the disk the first time.
func (t *tree) read(file string) (*code, error) {
	if c := t.files[file]; c != nil {
		return c, nil
	}
	text, err := os.ReadFile(filepath.Join(t.root, file))
	if err != nil {
		return nil, err
	}
	c, err := parseCode(file, string(text))
	if err != nil {
		return nil, buildError(err.Error())
	}
	if t.files == nil {
		t.files = make(map[string]*code)
	}
	t.files[file] = c
	return c, nil
}

func (t *tree) change(file string, c *code) {
	t.files[file] = c
	t.changed = append(t.changed, file)
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
	t.change(h.file, c)
	return nil
}

// write writes the files that have been changed.
func (t *tree) write() error {
	for _, file := range t.changed {
		if err := atomicfile.Write(filepath.Join(t.root, file), []byte(t.files[file].text), atomicfile.Options{Mode: 0o644}); err != nil {
			return err
		}
	}
	return nil
}

// state tells what is in the exercise's place, and where: its first function, all that are to be written, or what the parser
// says.
func (t *tree) state(e *exercise, s solution) (st state, where string, err error) {
	var stubs []string
	for _, h := range s {
		c, err := t.read(h.file)
		if build := buildError(""); errors.As(err, &build) {
			return broken, string(build), nil
		}
		if err != nil {
			return 0, "", err
		}
		body, line, err := c.body(h.name)
		if err != nil {
			return 0, "", fmt.Errorf("%s: %w. %s asks for it: put it back, with any body", h.file, err, e)
		}
		if where == "" {
			where = fmt.Sprintf("%s:%d", e.local(h.file), line)
		}
		switch {
		case strings.Contains(body, stubMark(e)):
			stubs = append(stubs, fmt.Sprintf("%s:%d, %s", e.local(h.file), line, h.name))
		case strings.TrimSpace(body) != strings.TrimSpace(h.body):
			st = own
		}
	}
	if len(stubs) > 0 {
		return started, strings.Join(stubs, "; "), nil
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
