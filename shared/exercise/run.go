package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds for what runs, and for what is shown of it.
const (
	buildTime = 5 * time.Minute
	checkTime = 15 * time.Second // for one test of a learner: what hangs is a failure
	testTime  = time.Minute      // for one of the course
	wrongTime = 10 * time.Second // for one that is expected to fail
	slowTime  = 5 * time.Minute  // for one that is expected to pass while this machine proves others, or that has namespaces to make
	atOnce    = 4                // tests
	maxOutput = 1 << 20          // bytes of a test's output; the rest is dropped
	maxLines  = 20               // of a failed test's output that are shown
	maxWidth  = 160              // bytes of such a line
)

// A result is how one test ended.
type result struct {
	test   test
	passed bool
	output string
}

// A buildError is what the compiler has to say.
type buildError string

func (e buildError) Error() string { return string(e) }

// A runner runs tests of one tree. Each test binary is built once, and each test is a process of its own, so that a panic
// or an endless loop in one leaves the others alone.
type runner struct {
	root    string
	overlay string        // a file for 'go build -overlay', which puts other files in place of some; "" for none
	dir     string        // for the binaries, and what tests leave in their TMPDIR when they panic
	limit   time.Duration // of a test

	built map[string]string
}

func (r *runner) env() []string {
	env := append(os.Environ(), "TMPDIR="+r.dir)
	if r.overlay == "" {
		return env
	}
	// Tests build programs: these get the overlay, too.
	return append(env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+r.overlay))
}

// newFolder makes a runner's dir. Programs that a test starts as another user may enter it.
func newFolder() (string, error) {
	dir, err := os.MkdirTemp("", "exercise")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// build returns the test binary of a package of the step.
func (r *runner) build(ctx context.Context, step, pkg string) (string, error) {
	binary := filepath.Join(r.dir, strings.NewReplacer("/", "_", ".", "").Replace(step+pkg)+".test")
	if r.built[binary] != "" {
		return binary, nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	// Nobody debugs this binary: without what a debugger needs (-s), it is linked sooner.
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s", "-o", binary, pkg)
	cmd.Dir, cmd.Env = filepath.Join(r.root, step), r.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", buildError(out)
	}
	if r.built == nil {
		r.built = make(map[string]string)
	}
	r.built[binary] = pkg
	return binary, nil
}

// run runs one test.
func (r *runner) run(ctx context.Context, step string, t test) (result, error) {
	binary, err := r.build(ctx, step, t.pkg)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*r.limit) // the test binary's own limit comes first, and shows where it hangs
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.timeout="+r.limit.String(), "-test.failfast", "-test.run=^"+t.name+"$")
	cmd.Dir, cmd.Env = filepath.Join(r.root, step, t.pkg), r.env()
	var out limited
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	if strings.Contains(out.String(), "no tests to run") {
		return result{}, fmt.Errorf("%s has no test %s", t.pkg, t.name)
	}
	return result{t, err == nil, out.String()}, nil
}

// list returns the names of all tests of the package.
func (r *runner) list(ctx context.Context, step, pkg string) ([]string, error) {
	binary, err := r.build(ctx, step, pkg)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "-test.list=^Test")
	cmd.Dir, cmd.Env = filepath.Join(r.root, step, pkg), r.env()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the tests of %s can't be listed: %w", pkg, err)
	}
	return strings.FieldsFunc(string(out), func(c rune) bool { return c == '\n' }), nil
}

// A limited keeps the first maxOutput bytes.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	l.Buffer.Write(b[:min(len(b), max(0, maxOutput-l.Len()))])
	return len(b), nil
}

// judge runs tests of the step, some at a time: most wait more than they compute. The results are in the order of the tests.
func (r *runner) judge(ctx context.Context, step string, tests []test) ([]result, error) {
	for _, t := range tests { // one after the other, as they share what is built
		if _, err := r.build(ctx, step, t.pkg); err != nil {
			return nil, err
		}
	}
	results := make([]result, len(tests))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, t := range tests {
		g.Go(func() (err error) {
			results[i], err = r.run(ctx, step, t)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return results, nil
}

var unwritten = regexp.MustCompile(`exercise ([\w-]+\.\d+) is not written yet`)

// explain says what is wrong, in words of the exercise: the first mistake that fits the results, or what the first failed
// test stands for. The mistake is nil if none is recognised.
func (e *exercise) explain(results []result) (words string, recognised *mistake) {
	for _, r := range results {
		if m := unwritten.FindStringSubmatch(r.output); m != nil && !r.passed {
			if m[1] == e.id() {
				return "It isn't written yet: " + r.test.name + " came to the line that stands in its place.", nil
			}
			return "It ran into exercise " + m[1] + ", which is started and not written yet. Write that first, or put the course's " +
				"version there: 'make solution EX=" + m[1][strings.Index(m[1], ".")+1:] + " PUT=1' in its step.", nil
		}
	}
	for i, m := range e.mistakes {
		if slices.ContainsFunc(results, func(r result) bool {
			return r.test.name == m.test && !r.passed && strings.Contains(r.output, m.output)
		}) {
			return m.meaning, &e.mistakes[i]
		}
	}
	for _, r := range results {
		if !r.passed {
			return r.test.meaning, nil
		}
	}
	return "", nil
}

// excerpt is what is shown of a failed test's output.
func excerpt(output string) (lines []string) {
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n\r ")
		if line == "" || line == "FAIL" || line == "PASS" || strings.HasPrefix(line, "exit status") {
			continue
		}
		if len(line) > maxWidth {
			line = strings.ToValidUTF8(line[:maxWidth], "") + " ..."
		}
		if lines = append(lines, strings.ReplaceAll(line, "\t", "  ")); len(lines) == maxLines {
			return append(lines, "...")
		}
	}
	return lines
}
