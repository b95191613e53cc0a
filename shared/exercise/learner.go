package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/atomicfile"
)

// start takes the course's version of the exercises out of the tree, and says what to write. It changes nothing where that
// would overwrite work.
func start(root string, list []*exercise, one bool) error {
	t := &tree{root: root}
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	var begun []*exercise
	solutions := make(map[*exercise]solution)
	refused := false
	for _, e := range list {
		s, err := solutionOf(root, e)
		if err != nil {
			return err
		}
		st, where, err := t.state(e, s)
		if err != nil {
			return err
		}
		switch st {
		case started:
			fmt.Printf("%s is started already: write %s.\n", capital(e), where)
			refused = refused || one
			continue
		case own:
			fmt.Printf("%s: %s is not the course's version any more. It looks like your work, so it stays as it is.\n"+
				"To begin anew, put the course's version in first ('%s PUT=1', which keeps yours in out/), and start again.\n", capital(e), where, e.command("solution"))
			refused = true
			continue
		case broken:
			fmt.Printf("%s doesn't build, so it stays as it is: %s\n", capital(e), where)
			refused = true
			continue
		}
		for _, h := range s {
			if err := t.put(h, stub(e)); err != nil {
				return err
			}
		}
		*r.of(e) = done{Started: time.Now().UTC().Truncate(time.Second)}
		begun = append(begun, e)
		solutions[e] = s
	}
	if len(begun) > 0 {
		if err := t.write(); err != nil {
			return err
		}
		if err := r.write(root); err != nil {
			return err
		}
	}
	for _, e := range begun {
		if err := describe(t, e, solutions[e]); err != nil {
			return err
		}
	}
	if refused {
		return errFailed
	}
	return nil
}

// show lists the exercises, with what there is to write.
func show(root string, list []*exercise) error {
	for _, e := range list {
		s, err := solutionOf(root, e)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s\n", e.id(), e.title)
		for _, h := range s {
			fmt.Printf("     %-50s %3d %s\n", e.local(h.file)+", "+h.name, h.lines(), map[bool]string{true: "line", false: "lines"}[h.lines() == 1])
		}
	}
	return nil
}

// describe says what there is to write.
func describe(t *tree, e *exercise, s solution) error {
	fmt.Printf("== %s\n\n%s\n\nPredict: %s\n\nWrite:\n", capital(e), e.task, e.predict)
	for _, h := range s {
		c, err := t.read(h.file)
		if err != nil {
			return err
		}
		_, line, err := c.body(h.name)
		if err != nil {
			return err
		}
		fmt.Printf("  %s:%d, %s\n", e.local(h.file), line, h.name)
	}
	fmt.Printf("Then: %s. If you are stuck: %s.\n\n", e.command("check"), e.command("hint"))
	return nil
}

// checkStep checks one exercise, or all of a step that have been started.
func checkStep(ctx context.Context, root string, list []*exercise, one bool) error {
	if !one {
		var err error
		if list, err = in(root, list, started, own, broken); err != nil {
			return err
		}
		if len(list) == 0 {
			fmt.Println("None of this step's exercises is started: 'make start' starts them, 'make start EX=1' the first.")
			return nil
		}
	}
	return checkEach(ctx, root, list)
}

// checkEach checks all exercises of the list, also after one that fails.
func checkEach(ctx context.Context, root string, list []*exercise) (failed error) {
	for _, e := range list {
		passed, err := checkOne(ctx, root, e)
		if err != nil {
			return err
		}
		if !passed {
			failed = errFailed
		}
	}
	return failed
}

// in returns the exercises that are in one of the states.
func in(root string, list []*exercise, states ...state) (found []*exercise, err error) {
	t := &tree{root: root}
	for _, e := range list {
		s, err := solutionOf(root, e)
		if err != nil {
			return nil, err
		}
		st, _, err := t.state(e, s)
		if err != nil {
			return nil, err
		}
		if slices.Contains(states, st) {
			found = append(found, e)
		}
	}
	return found, nil
}

// checkOne runs the tests of an exercise on what is in the tree, and says what is wrong.
func checkOne(ctx context.Context, root string, e *exercise) (passed bool, err error) {
	s, err := solutionOf(root, e)
	if err != nil {
		return false, err
	}
	t := &tree{root: root}
	st, where, err := t.state(e, s)
	switch {
	case err != nil:
		return false, err
	case st == broken:
		fmt.Printf("%s doesn't build:\n%s\n", capital(e), indent(excerpt(where)))
		return false, nil
	case st == started:
		fmt.Printf("%s is not written yet: %s. Its text is %s; '%s' helps.\n", capital(e), where, e.local(e.file), e.command("hint"))
		return false, nil
	}
	// What uses a package again needs its import.
	for _, h := range s {
		c, err := t.read(h.file)
		if err != nil {
			return false, err
		}
		tidy, err := c.tidy(h.file, h.imports)
		if err != nil {
			return false, err
		}
		if st == own && strings.Join(tidy.imports(), "\n") != strings.Join(c.imports(), "\n") {
			t.change(h.file, tidy)
			fmt.Printf("%s has the imports that it needs now.\n", e.local(h.file))
		}
	}
	if err := t.write(); err != nil {
		return false, err
	}
	dir, err := newFolder()
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	run := &runner{root: root, dir: dir, limit: checkTime}
	fmt.Printf("%s: running %d tests ...\n", capital(e), len(e.tests))
	results, err := run.judge(ctx, e.step, e.tests)
	var build buildError
	switch {
	case errors.As(err, &build):
		fmt.Printf("It doesn't build:\n%s\n", indent(excerpt(string(build))))
	case err != nil:
		return false, err
	}
	passed = err == nil && report(e, results)
	r, err := readRecord(root) // only now: another check may have written it meanwhile
	if err != nil {
		return false, err
	}
	d := r.of(e)
	d.Checks++
	if d.Checked, err = t.fingerprint(s); err != nil {
		return false, err
	}
	switch d.Passed = (time.Time{}); {
	case passed && st == course && d.Started.IsZero():
		fmt.Printf("This is the course's own version: '%s' makes room for yours.\n", e.command("start"))
	case passed:
		d.Passed = time.Now().UTC().Truncate(time.Second)
		fmt.Printf("Compare your prediction with the answer, at the end of: %s\n", e.command("solution"))
	case len(e.hints) > d.Hints:
		fmt.Printf("Next hint, %d of %d: %s\n", d.Hints+1, len(e.hints), e.command("hint"))
	default:
		fmt.Printf("All hints are given; the course's version: %s\n", e.command("solution"))
	}
	fmt.Println()
	if st == course && d.Started.IsZero() {
		return passed, nil // not a learner's: no record of it
	}
	return passed, r.write(root)
}

// report prints how the tests ended, and what that means.
func report(e *exercise, results []result) (passed bool) {
	words, m := e.explain(results)
	// Of several that fail only one is shown, as the others mostly say the same: the one that the words are about.
	shown := slices.IndexFunc(results, func(r result) bool { return !r.passed && (m == nil || r.test.name == m.test) })
	good := 0
	for i, r := range results {
		word := "FAIL "
		if r.passed {
			word = "ok   "
			good++
		}
		fmt.Printf("  %s %s %s\n", word, r.test.name, r.test.pkg)
		if i == shown {
			fmt.Println(indent(excerpt(r.output)))
		}
	}
	fmt.Printf("%d of %d tests pass.\n", good, len(results))
	if shown < 0 {
		return true
	}
	if strings.Contains(results[shown].output, "panic: test timed out") {
		fmt.Printf("%s did not end within %v: is there a loop that doesn't end, or does somebody wait for somebody?\n", results[shown].test.name, checkTime)
	}
	if m != nil {
		fmt.Printf("Most likely: %s. %s\n", m.title, words)
	} else {
		fmt.Printf("What it is about: %s\n", words)
	}
	return false
}

// hint shows the hints so far and the next.
func hint(root string, e *exercise) error {
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	d := r.of(e)
	d.Hints = min(d.Hints+1, len(e.hints))
	fmt.Printf("%s\n", capital(e))
	for i, text := range e.hints[:d.Hints] {
		fmt.Printf("\nHint %d of %d: %s\n", i+1, len(e.hints), text)
	}
	if d.Hints == len(e.hints) {
		fmt.Printf("\nThere are no more hints. The course's version: %s\n", e.command("solution"))
	}
	return r.write(root)
}

// showSolution prints the course's version, or puts it in. What it replaces is kept.
func showSolution(root string, e *exercise, put bool) error {
	s, err := solutionOf(root, e)
	if err != nil {
		return err
	}
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	t := &tree{root: root}
	st, where, err := t.state(e, s)
	if err != nil {
		return err
	}
	if d := r.Exercises[e.id()]; d != nil && !d.Shown {
		d.Shown = true
		if err := r.write(root); err != nil {
			return err
		}
	}
	if !put {
		for _, h := range s {
			fmt.Printf("// %s\n%s\n\n", h.file, h.text)
		}
		fmt.Printf("// The answer to the prediction, and why it is written so:\n\n%s\n", e.answer)
		return nil
	}
	switch st {
	case course:
		fmt.Printf("%s: the course's version is in its place already.\n", capital(e))
		return nil
	case broken:
		return fmt.Errorf("%s doesn't build: %s. Mend that first, as nothing can be put into such a file", e, where)
	case own:
		kept := filepath.Join(e.step, "out", fmt.Sprintf("exercise-%d.%s.go.txt", e.number, time.Now().Format("20060102-150405")))
		if err := t.keep(kept, s); err != nil {
			return err
		}
		fmt.Printf("%s: your version is kept in %s.\n", capital(e), kept)
	}
	for _, h := range s {
		if err := t.put(h, h.body); err != nil {
			return err
		}
	}
	if err := t.write(); err != nil {
		return err
	}
	fmt.Printf("%s: the course's version is in its place.\n", capital(e))
	return nil
}

// keep writes what is in the exercise's place into another file.
func (t *tree) keep(name string, s solution) error {
	var b strings.Builder
	for _, h := range s {
		c, err := t.read(h.file)
		if err != nil {
			return err
		}
		text, err := c.function(h.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "// %s\n%s\n\n", h.file, text)
	}
	if err := os.MkdirAll(filepath.Join(t.root, filepath.Dir(name)), 0o755); err != nil {
		return err
	}
	return atomicfile.Create(filepath.Join(t.root, name), []byte(b.String()), atomicfile.Options{Mode: 0o644})
}

func capital(e *exercise) string { return "E" + strings.TrimPrefix(e.String(), "e") }

func indent(lines []string) string { return "        " + strings.Join(lines, "\n        ") }
