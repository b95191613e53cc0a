package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// An exercise is one text file, exercises/N-NAME.md in a step's folder, and the functions of that step whose doc comment
// ends with the directive "//exercise:N". See parse for the text. A chapter beyond the steps, such as
// step8-deploy/further/wireguard, has exercises as a step has.
type exercise struct {
	step   string // the folder of the step or chapter, from the root: "step4-crypto"
	number int    // N, within the step
	file   string // of the text, from the root
	title  string

	task, predict string
	answer        string // to the prediction; and why the solution is as it is
	tests         []test
	also          map[string][]string // tests that fail as well, as they need what is missing; by package
	hints         []string            // from a nudge to an outline
	mistakes      []mistake
}

// A test is one that fails until the exercise is solved.
type test struct {
	pkg, name string // "./relay", "TestHalfClose"
	meaning   string // what is wrong when it fails, and why that matters
}

// A mistake is one that many make.
type mistake struct {
	title   string
	test    string // the test that catches it
	output  string // what the test's output has then; "" for anything
	meaning string // what is wrong, and why that matters
	patch   []string
}

// id is how people name an exercise: "4.3", or "wireguard.1" in a chapter.
func (e *exercise) id() string {
	name := filepath.Base(e.step)
	if !isChapter(e.step) {
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "step"), "-")
	}
	return name + "." + strconv.Itoa(e.number)
}

func (e *exercise) String() string { return "exercise " + e.id() + " (" + e.title + ")" }

// local is a file's name, or what begins with one, as it is in the step's folder.
func (e *exercise) local(file string) string { return strings.TrimPrefix(file, e.step+"/") }

// command is what to type in the step's folder for the exercise.
func (e *exercise) command(verb string) string { return fmt.Sprintf("make %s EX=%d", verb, e.number) }

// steps returns the folders of all steps, in order, each followed by those of its chapters. A chapter has a README.
func steps(root string) ([]string, error) {
	list, err := filepath.Glob(filepath.Join(root, "step*-*"))
	if err != nil {
		return nil, err
	}
	chapters, err := filepath.Glob(filepath.Join(root, "step*-*", further, "*", "README.md"))
	if err != nil {
		return nil, err
	}
	for _, readme := range chapters {
		list = append(list, filepath.Dir(readme))
	}
	for i := range list {
		if list[i], err = filepath.Rel(root, list[i]); err != nil {
			return nil, err
		}
	}
	slices.Sort(list)
	return list, nil
}

// further is the folder of a step that has its chapters, a folder each.
const further = "further"

func isChapter(step string) bool { return filepath.Base(filepath.Dir(step)) == further }

// programs is the step whose programs use the code of the step or chapter.
func programs(step string) string {
	first, _, _ := strings.Cut(step, "/")
	return first
}

// exercises returns those of the steps, in order. An error names the file.
func exercises(root string, steps ...string) (list []*exercise, err error) {
	for _, step := range steps {
		files, err := filepath.Glob(filepath.Join(root, step, "exercises", "*.md"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			e := &exercise{step: step, file: filepath.Join(step, "exercises", filepath.Base(file))}
			number, _, _ := strings.Cut(filepath.Base(file), "-")
			if e.number, err = strconv.Atoi(number); err != nil || e.number < 1 {
				return nil, fmt.Errorf("%s: its name doesn't begin with the exercise's number, as in 1-pump.md", e.file)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			if err := e.parse(string(text)); err != nil {
				return nil, fmt.Errorf("%s: %w", e.file, err)
			}
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b *exercise) int {
		return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.number, b.number))
	})
	return list, nil
}
