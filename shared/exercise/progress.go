package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// standing is how far the learner is with an exercise: in words, and whether the piece is the learner's own.
func standing(t *tree, r *record, e *exercise) (words string, mine bool, err error) {
	s, err := solutionOf(t.root, e)
	if err != nil {
		return "", false, err
	}
	st, _, err := t.state(e, s)
	if build := buildError(""); errors.As(err, &build) {
		return "doesn't build", true, nil
	}
	if err != nil {
		return "", false, err
	}
	d := r.Exercises[e.id()]
	if d == nil {
		d = new(done)
	}
	print, err := t.fingerprint(s)
	if err != nil {
		return "", false, err
	}
	switch checked := d.Checked == print; {
	case st == started:
		return "started", false, nil
	case checked && !d.Passed.IsZero() && st == course:
		return "done, with the course's solution", true, nil
	case checked && !d.Passed.IsZero():
		return "done by you", true, nil
	case st == course:
		return "to do", false, nil
	case checked:
		return "failing", true, nil
	}
	return "yours, not checked since it was changed", true, nil
}

// progress prints how far the learner is.
func progress(root string, list []*exercise) error {
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	t := &tree{root: root}
	own, step, width := 0, "", 0
	for _, e := range list {
		width = max(width, utf8.RuneCountInString(e.title))
	}
	for _, e := range list {
		words, mine, err := standing(t, r, e)
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
			fmt.Printf("%-14s", step)
		}
		fmt.Printf("%-4s %-*s  %s\n", e.id(), width, e.title, words)
	}
	fmt.Printf("\n%d of %d pieces are yours.", own, len(list))
	if len(r.Exercises) > 0 {
		fmt.Printf(" %s says so, too, for a teacher.", recordName)
	}
	fmt.Println()
	return nil
}

// pieces says in a sentence how much of the program is the learner's. It fails if a piece is missing.
func pieces(root string, list []*exercise) error {
	r, err := readRecord(root)
	if err != nil {
		return err
	}
	t := &tree{root: root}
	var own []string
	for _, e := range list {
		words, mine, err := standing(t, r, e)
		if err != nil {
			return err
		}
		if words == "doesn't build" {
			return fmt.Errorf("%s doesn't build: '%s' in %s says why", e, e.command("check"), e.step)
		}
		if words == "started" {
			return fmt.Errorf("%s is started and not written yet, and the program needs it: write it, or type '%s PUT=1' in %s",
				e, e.command("solution"), e.step)
		}
		if mine {
			own = append(own, e.id())
		}
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
	t := &tree{root: root}
	failed := false
	for _, e := range list {
		st, _, err := stateOf(t, e)
		if err != nil {
			return err
		}
		if st != own {
			continue
		}
		passed, err := checkOne(ctx, root, e)
		if err != nil {
			return err
		}
		failed = failed || !passed
	}
	if failed {
		return errFailed
	}
	return nil
}
