package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// prove shows of each exercise that its starter builds, that exactly the tests that it names fail with it, that they pass
// with the solution, and that each mistake is recognised. The tree stays as it is: the compiler is given other files in
// place of some. Two things take long: with each, every mistake is made, and not only the first one of an exercise (that the
// lines of the others are in the solution is seen anyway); with all, it is also looked whether tests that need namespaces
// fail that are not named. If fix is set, the lists of tests that fail as well ("also") are corrected in the texts.
func prove(ctx context.Context, root string, list []*exercise, each, all, fix bool) error {
	var failed atomic.Int32
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU() + 1)
	for _, e := range list {
		g.Go(func() error {
			began := time.Now()
			p := &proof{root: root, e: e, fix: fix}
			err := p.prove(ctx, each, all)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				failed.Add(1)
				fmt.Printf("FAIL %s: %v\n", e, err)
			default:
				fmt.Printf("ok   %s: %d lines to write, checked in %.1f s, %d of %d mistakes made and recognised (%.1f s)\n", e, p.lines, p.check.Seconds(),
					p.made, len(e.mistakes), time.Since(began).Seconds())
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d exercises are not what they say", n, len(list))
	}
	return nil
}

// A proof is that of one exercise.
type proof struct {
	root string
	e    *exercise
	fix  bool

	lines int           // to write
	made  int           // how many mistakes were made
	check time.Duration // what the learner's check takes, with the build
}

func (p *proof) prove(ctx context.Context, each, all bool) error {
	s, err := solutionOf(p.root, p.e)
	if err != nil {
		return err
	}
	for _, h := range s {
		p.lines += h.lines()
	}
	began := time.Now()
	if err := p.with(ctx, nil, func(r *runner) error {
		results, err := r.judge(ctx, p.e.step, p.e.tests)
		for _, one := range results {
			if !one.passed {
				return fmt.Errorf("the solution fails %s:\n%s", one.test.name, indent(excerpt(one.output)))
			}
		}
		return err
	}); err != nil {
		return err
	}
	p.check = time.Since(began)

	stubs := slices.Clone(s)
	for i := range stubs {
		stubs[i].body = stub(p.e)
	}
	if err := p.with(ctx, stubs, func(r *runner) error { return p.starter(ctx, r, all) }); err != nil {
		return fmt.Errorf("with the starter: %w", err)
	}
	for _, m := range p.e.mistakes {
		mistaken, err := m.in(s)
		if err == nil && (each || p.made == 0) {
			p.made++
			err = p.with(ctx, mistaken, func(r *runner) error { return p.recognised(ctx, r, m) })
		}
		if err != nil {
			return fmt.Errorf("mistake %q: %w", m.title, err)
		}
	}
	return nil
}

// with runs f with these bodies in the place of those in the tree; with nil, on the tree as it is.
func (p *proof) with(ctx context.Context, bodies solution, f func(*runner) error) error {
	dir, err := newFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &runner{root: p.root, dir: dir, limit: testTime}
	if bodies != nil {
		t := &tree{root: p.root}
		for _, h := range bodies {
			if err := t.put(h, h.body); err != nil {
				return err
			}
		}
		if r.overlay, err = t.overlay(dir); err != nil {
			return err
		}
	}
	return f(r)
}

// overlay writes the files of the tree into dir, and the list of them that 'go build -overlay' takes.
func (t *tree) overlay(dir string) (string, error) {
	var list struct{ Replace map[string]string }
	list.Replace = make(map[string]string)
	for file, c := range t.files {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, []byte(c.text), 0o600); err != nil {
			return "", err
		}
		list.Replace[filepath.Join(t.root, file)] = copied
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o600)
}

// starter sees that just the named tests fail.
func (p *proof) starter(ctx context.Context, r *runner, all bool) error {
	results, err := r.judge(ctx, p.e.step, p.e.tests)
	if err != nil {
		return err
	}
	named := make(map[string][]string) // by package
	for _, one := range results {
		named[one.test.pkg] = append(named[one.test.pkg], one.test.name)
		if one.passed {
			return fmt.Errorf("%s passes, so it says nothing about the exercise", one.test.name)
		}
		if !strings.Contains(one.output, stubWords(p.e)) {
			return fmt.Errorf("%s fails without a word of the exercise:\n%s", one.test.name, indent(excerpt(one.output)))
		}
	}
	for pkg, names := range named {
		lab, err := usesLab(filepath.Join(p.root, p.e.step, pkg))
		if err != nil {
			return err
		}
		if lab && !all {
			continue
		}
		every, err := r.list(ctx, p.e.step, pkg)
		if err != nil {
			return err
		}
		var others []test
		for _, name := range every {
			if strings.HasPrefix(name, "Test") && !slices.Contains(names, name) {
				others = append(others, test{pkg: pkg, name: name})
			}
		}
		r.limit = slowTime // a stub never hangs
		results, err := r.judge(ctx, p.e.step, others)
		if err != nil {
			return err
		}
		var also []string
		for _, one := range results {
			if !one.passed {
				also = append(also, one.test.name)
			}
		}
		want := slices.Sorted(slices.Values(p.e.also[pkg]))
		switch slices.Sort(also); {
		case slices.Equal(also, want):
		case p.fix:
			if err := p.e.writeAlso(p.root, pkg, also); err != nil {
				return err
			}
			fmt.Printf("%s: the list of what else fails in %s is corrected\n", p.e.file, pkg)
		default:
			return fmt.Errorf("besides those named these tests fail, and no others: write '- `%s` also: %s', or let 'prove -fix' do so", pkg, strings.Join(also, ", "))
		}
	}
	return nil
}

// usesLab tells whether the package's tests run in namespaces.
func usesLab(dir string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if strings.Contains(string(text), "netlab.Main") {
			return true, nil
		}
	}
	return false, nil
}

// in makes the mistake in the solution.
func (m mistake) in(s solution) (mistaken solution, err error) {
	places := 0
	mistaken = slices.Clone(s)
	for i, h := range s {
		body, no := m.apply(h.body)
		if no != nil {
			err = no
			continue
		}
		mistaken[i].body = body
		places++
	}
	switch places {
	case 0:
		return nil, err
	case 1:
		return mistaken, nil
	}
	return nil, fmt.Errorf("its lines are in %d functions: add one that makes them unique", places)
}

// recognised sees that the mistake's test fails, and that the mistake is known by it.
func (p *proof) recognised(ctx context.Context, r *runner, m mistake) error {
	r.limit = wrongTime
	for _, t := range p.e.tests {
		if lab, err := usesLab(filepath.Join(p.root, p.e.step, t.pkg)); err != nil {
			return err
		} else if lab {
			r.limit = slowTime
		}
	}
	results, err := r.judge(ctx, p.e.step, p.e.tests)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(results, func(one result) bool { return one.test.name == m.test && !one.passed })
	if at < 0 {
		return fmt.Errorf("%s doesn't notice it", m.test)
	}
	if words, found := p.e.explain(results); found == nil || found.title != m.title {
		return fmt.Errorf("it is not recognised; the learner reads %q, after:\n%s", words, indent(excerpt(results[at].output)))
	}
	return nil
}
