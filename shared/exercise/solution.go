package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"stepvpn/shared/atomicfile"
)

// solutionsDir has the course's version of each function that an exercise asks for, one file per exercise. It is made from
// the code ("sync"), so that a tree without git has it, too.
const solutionsDir = "shared/exercise/solutions"

// A hole is a function that an exercise asks for.
type hole struct {
	file, name string // the file from the root, and the function: "pump", "pair.end"
	text       string // the course's version, from "func" on
	body       string // what is between its braces
	imports    []string
}

// lines is how many lines the body has.
func (h hole) lines() int { return strings.Count(strings.Trim(h.body, "\n"), "\n") + 1 }

// A solution is the course's version of an exercise's functions.
type solution []hole

var part = regexp.MustCompile(`(?m)^-- (\S+\.go) (\S+) --\n`)

// solutionOf reads the solution of an exercise.
func solutionOf(root string, e *exercise) (s solution, err error) {
	name := filepath.Join(solutionsDir, e.id()+".txt")
	b, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s has no solution, %s: 'make solutions' in the root makes it from the code", e, name)
	}
	if err != nil {
		return nil, err
	}
	text := string(b)
	heads := part.FindAllStringSubmatchIndex(text, -1)
	imports := make(map[string][]string)
	for i, at := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		file, what, body := text[at[2]:at[3]], text[at[4]:at[5]], text[at[1]:end]
		if what == "import" {
			imports[file] = strings.Split(strings.TrimSuffix(body, "\n"), "\n")
			continue
		}
		c, err := parseCode(name, "package p\n"+body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		h := hole{file: file, name: what, text: strings.TrimSpace(body)}
		if h.body, _, err = c.body(what); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s = append(s, h)
	}
	for i := range s {
		s[i].imports = imports[s[i].file]
	}
	if len(s) == 0 {
		return nil, fmt.Errorf("%s is empty: 'make solutions' in the root makes it from the code", name)
	}
	return s, nil
}

// fromCode makes the solutions of all exercises that the code declares by its directives, by "4.3". It is an error if one of
// them has no text.
func fromCode(root string, list []*exercise) (map[string]string, error) {
	texts := make(map[string]string)
	all, err := steps(root)
	if err != nil {
		return nil, err
	}
	for _, step := range all {
		files, err := goFiles(filepath.Join(root, step))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			c, err := readCode(file)
			if err != nil {
				return nil, err
			}
			file, _ = filepath.Rel(root, file) // below root
			for n, names := range c.holes() {
				if !slices.ContainsFunc(list, func(e *exercise) bool { return e.step == step && e.number == n }) {
					return nil, fmt.Errorf("%s: %s is declared as exercise %d, and %s/exercises has no text of that number", file, names[0], n, step)
				}
				var b strings.Builder
				fmt.Fprintf(&b, "-- %s import --\n%s\n", file, strings.Join(c.imports(), "\n"))
				for _, name := range names {
					text, err := c.function(name)
					if err != nil {
						return nil, fmt.Errorf("%s: %w", file, err)
					}
					fmt.Fprintf(&b, "-- %s %s --\n%s\n", file, name, text)
				}
				id := (&exercise{step: step, number: n}).id()
				texts[id] += b.String()
			}
		}
	}
	return texts, nil
}

// syncSolutions makes the solutions from the code, or, if check is set, only says which are not the same.
func syncSolutions(root string, list []*exercise, check bool) error {
	texts, err := fromCode(root, list)
	if err != nil {
		return err
	}
	var stale []error
	want := make(map[string]bool)
	for _, e := range list {
		text := texts[e.id()]
		if text == "" {
			return fmt.Errorf("%s: no function has the directive '//exercise:%d' in its doc comment", e.file, e.number)
		}
		if strings.Contains(text, stubMark(e)) {
			return fmt.Errorf("%s is started in this tree and not written: its solution can't be made from that", e)
		}
		name := filepath.Join(root, solutionsDir, e.id()+".txt")
		want[name] = true
		if old, err := os.ReadFile(name); err == nil && string(old) == text {
			continue
		}
		if check {
			stale = append(stale, fmt.Errorf("%s: the code is not as %s/%s.txt has it. If this is your own solution, all is well: "+
				"'make check' is the judge. If you change the course, run 'make solutions'", e, solutionsDir, e.id()))
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := atomicfile.Write(name, []byte(text), atomicfile.Options{Mode: 0o644}); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(root, solutionsDir, "*.txt"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if want[name] {
			continue
		}
		if check {
			stale = append(stale, fmt.Errorf("%s belongs to no exercise: run 'make solutions'", name))
		} else if err := os.Remove(name); err != nil {
			return err
		}
	}
	return errors.Join(stale...)
}

// goFiles returns the Go files below the folder, without tests, and without those of chapters.
func goFiles(dir string) (list []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains([]string{"testdata", "bin", "out", further}, d.Name()) {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			list = append(list, path)
		}
		return err
	})
	return list, err
}

func readCode(file string) (*code, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseCode(file, string(text))
}
