package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// standing is how far the learner is with an exercise: what is in its place, in words, and whether it is the learner's own.
func standing(t *tree, r *record, e *exercise) (st state, words string, mine bool, err error) {
	s, err := solutionOf(t.root, e)
	if err != nil {
		return 0, "", false, err
	}
	st, _, err = t.state(e, s)
	switch {
	case err != nil:
		return 0, "", false, err
	case st == broken:
		return st, "doesn't build", true, nil
	case st == started:
		return st, "started", false, nil
	}
	d := r.Exercises[e.id()]
	if d == nil {
		d = new(done)
	}
	print, err := t.fingerprint(s)
	if err != nil {
		return 0, "", false, err
	}
	switch checked := d.Checked == print; {
	case checked && !d.Passed.IsZero() && st == course:
		return st, "done, with the course's solution", true, nil
	case checked && !d.Passed.IsZero():
		return st, "done by you", true, nil
	case st == course:
		return st, "to do", false, nil
	case checked:
		return st, "failing", true, nil
	}
	return st, "yours, not checked since it was changed", true, nil
}

// progress prints how far the learner is.
func progress(root string, list []*exercise) error {
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	t := &tree{root: root}
	own, step, width, idWidth := 0, "", 0, 0
	for _, e := range list {
		width = max(width, utf8.RuneCountInString(e.title))
		idWidth = max(idWidth, len(e.id()))
	}
	for _, e := range list {
		_, words, mine, err := standing(t, r, e)
		if err != nil {
			return err
		}
		if mine {
			own++
		}
		if e.step == step {
			fmt.Printf("%14s", "")
		} else {
			step = e.step
			fmt.Printf("%-14s", filepath.Base(step))
		}
		fmt.Printf("%-*s  %-*s  %s\n", idWidth, e.id(), width, e.title, words)
	}
	fmt.Printf("\n%d of %d pieces are yours.", own, len(list))
	if len(r.Exercises) > 0 {
		fmt.Printf(" %s says so, too, for a teacher.", recordName)
	}
	fmt.Println()
	return nil
}

// pieces says in a sentence how much of the program is the learner's. If pieces are missing, it returns an error that names
// all of them.
func pieces(root string, list []*exercise) error {
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	t := &tree{root: root}
	var own []string
	var missing []error
	for _, e := range list {
		st, _, mine, err := standing(t, r, e)
		switch {
		case err != nil:
			return err
		case st == broken:
			missing = append(missing, fmt.Errorf("%s doesn't build: '%s' in %s says why", e, e.command("check"), e.step))
		case st == started:
			missing = append(missing, fmt.Errorf("%s is started and not written yet, and the program needs it: write it, or type '%s PUT=1' in %s",
				e, e.command("solution"), e.step))
		case mine:
			own = append(own, e.id())
		}
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	switch len(own) {
	case 0:
		fmt.Printf("The course has %d pieces for you to write; none of those in use is yours yet: cd step1-relay && make start\n", len(list))
	case len(list):
		fmt.Printf("All %d pieces in use are yours.\n", len(list))
	default:
		fmt.Printf("Of the %d pieces to write %d in use are yours: %s\n", len(list), len(own), strings.Join(own, ", "))
	}
	return nil
}

// mine checks all that the learner has written.
func mine(ctx context.Context, root string, list []*exercise) error {
	if err := pieces(root, list); err != nil {
		return err
	}
	written, err := in(root, list, own)
	if err != nil {
		return err
	}
	return checkEach(ctx, root, written)
}
