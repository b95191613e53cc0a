package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var tool string // the program under test

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "exercise")
	if err != nil {
		panic(err)
	}
	tool = filepath.Join(dir, "exercise")
	if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// The course of the tests has one step with one exercise.
var (
	sumGo = `package sum

import (
	"errors"
	"strconv"
)

// Sum adds up the numbers in texts. A negative one is an error.
//
//exercise:1
func Sum(texts []string) (n int, err error) {
	for _, text := range texts {
		x, err := strconv.Atoi(text)
		if err != nil {
			return 0, err
		}
		if x < 0 {
			return 0, errors.New("negative")
		}
		n += x
	}
	return n, nil
}

// Other is not in an exercise.
func Other() error { return errors.New("other") }
`
	sumTest = `package sum

import "testing"

func TestSum(t *testing.T) {
	if n, err := Sum([]string{"1", "2"}); n != 3 || err != nil {
		t.Fatalf("1 and 2 are %d, %v", n, err)
	}
}

func TestNegative(t *testing.T) {
	if _, err := Sum([]string{"-1"}); err == nil {
		t.Fatal("a negative number was taken")
	}
}

func TestNothing(t *testing.T) {
	if n, _ := Sum(nil); n != 0 {
		t.Fatal(n)
	}
}

func TestOther(t *testing.T) {
	if Other() == nil {
		t.Fatal()
	}
}
`
	text = strings.ReplaceAll(`# Exercise 1.1: the sum

## Task
Write Sum.

## Predict
What is 1 and 2?

## Answer
It is 3, as one adds.

## Tests
- '.' TestSum: The sum is not right,
  and that matters.
- '.' TestNegative: A negative number is an error.
- '.' also: TestNothing

## Hints
1. A loop.
2. An addition,
   in the loop.
3. Both.

## Mistakes
### Negative numbers are taken
TestNegative: An attacker could take money with a negative number.
'''diff
-		if x < 0 {
-			return 0, errors.New("negative")
-		}
'''
### The last number counts
TestSum, '1 and 2 are 2': Each number took the place of the sum.
'''diff
-		n += x
+		n = x
'''
`, "'", "`")
)

// newCourse writes the course into a folder of the test's own.
func newCourse(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	todo, err := os.ReadFile("../todo/todo.go")
	require.NoError(t, err)
	for name, text := range map[string]string{
		"go.work":                    "go 1.26\n\nuse (\n\t./shared\n\t./step1-sum\n)\n",
		"shared/go.mod":              "module stepvpn/shared\n\ngo 1.26\n",
		"shared/todo/todo.go":        string(todo),
		"step1-sum/go.mod":           "module stepvpn/step1-sum\n\ngo 1.26\n",
		"step1-sum/sum.go":           sumGo,
		"step1-sum/sum_test.go":      sumTest,
		"step1-sum/exercises/1-a.md": text,
	} {
		write(t, filepath.Join(root, name), text)
	}
	do(t, root, 0, "sync")
	return root
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// change replaces what matches in a file.
func change(t *testing.T, name, old, new string) {
	t.Helper()
	text := read(t, name)
	changed := regexp.MustCompile("(?s)"+old).ReplaceAllLiteralString(text, new)
	require.NotEqual(t, text, changed)
	write(t, name, changed)
}

// do runs the tool in the folder of a course or of its step, and returns all that it prints.
func do(t *testing.T, dir string, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=", "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.IsType(t, new(exec.ExitError), err)
	}
	require.Equal(t, code, cmd.ProcessState.ExitCode(), "%s", out)
	return string(out)
}

// What a learner does in an evening.
func TestLearner(t *testing.T) {
	root := newCourse(t)
	step, file := filepath.Join(root, "step1-sum"), filepath.Join(root, "step1-sum/sum.go")
	require.Contains(t, do(t, step, 0, "check"), "None of this step's exercises is started")
	require.Contains(t, do(t, step, 0, "check", "1"), "This is the course's own version")
	require.Contains(t, do(t, root, 0, "progress"), "0 of 1 pieces are yours.")

	change(t, file, `errors.New\("other"\)`, `errors.New("another")`) // outside of the exercise
	out := do(t, step, 0, "start", "1")
	require.Contains(t, out, "Write Sum.")
	require.Contains(t, out, "sum.go:")
	require.Contains(t, read(t, file), `panic(todo.Exercise("1.1"))`)
	require.Contains(t, read(t, file), `errors.New("another")`)
	require.NotContains(t, read(t, file), "strconv", "it is not used any more")
	require.Contains(t, do(t, step, 1, "start", "1"), "started already")
	require.Contains(t, do(t, step, 1, "check"), "is not written yet")
	require.Contains(t, do(t, root, 0, "progress"), "started")
	missing := "exercise: exercise 1.1 (the sum) is started and not written yet, and the program needs it: " +
		"write it, or type 'make solution EX=1 PUT=1' in step1-sum\n"
	require.Equal(t, missing, do(t, root, 1, "pieces"))
	require.Equal(t, missing, do(t, step, 1, "pieces"))
	write(t, filepath.Join(root, "step0-before/README.md"), "")
	do(t, filepath.Join(root, "step0-before"), 0, "pieces") // it uses nothing of step 1

	stub := `\n\t// Exercise 1.1.*?"1.1"\)\)`
	change(t, file, stub, "\nreturn strconv.Atoi(texts[0]") // the bracket
	require.Contains(t, do(t, step, 1, "check"), "doesn't build:\n        step1-sum/sum.go:")
	require.Contains(t, do(t, root, 0, "progress"), "doesn't build")
	change(t, file, `return strconv.*?\]`, "for _, t := range texts {\nn, err = strconv.Atoi(t)\nif n < 0 { err = errors.New(t) }\n}\nreturn n, err")
	out = do(t, step, 1, "check", "1")
	require.Contains(t, out, "FAIL  TestSum")
	require.Contains(t, out, "ok    TestNegative")
	require.Contains(t, out, "Most likely: The last number counts. Each number took the place of the sum.")
	require.Contains(t, out, "Next hint, 1 of 3: make hint EX=1")
	require.Contains(t, read(t, file), `"strconv"`, "check adds the import that it had")
	require.Contains(t, do(t, root, 0, "progress"), "failing")
	require.NotContains(t, do(t, step, 0, "hint", "1"), "An addition")
	require.Contains(t, do(t, step, 0, "hint", "1"), "An addition")
	require.Contains(t, do(t, step, 0, "hint", "1"), "There are no more hints. The course's version: make solution EX=1\n")
	change(t, file, `n, err = strconv.Atoi\(t\)\s+if n < 0 {\s+err = errors.New\(t\)\s+}`, "x, _ := strconv.Atoi(t)\nif x < 0 { return 0, errors.New(t) }\nn += 2*x")
	require.Contains(t, do(t, step, 1, "check", "1"), "The sum is not right, and that matters.", "no mistake that is known")

	mine := "for i := range texts {\nx, e := strconv.Atoi(texts[i])\nif e != nil || x < 0 { return 0, errors.New(\"bad\") }\nn += x\n}\nreturn n, nil\n"
	change(t, file, `for _, t := range.*return n, err`, mine)
	require.Contains(t, do(t, root, 0, "progress"), "yours, not checked since it was changed")
	require.Contains(t, do(t, step, 0, "check", "1"), "2 of 2 tests pass")
	require.Contains(t, do(t, root, 0, "progress"), "done by you")
	require.Equal(t, "All 1 pieces in use are yours.\n", do(t, root, 0, "pieces"))
	require.Contains(t, do(t, root, 0, "mine"), "2 of 2 tests pass")

	before := read(t, file)
	require.Contains(t, do(t, step, 1, "start"), "looks like your work, so it stays")
	require.Equal(t, before, read(t, file))
	require.Contains(t, do(t, step, 0, "solution", "1"), "x, err := strconv.Atoi(text)")
	require.Contains(t, do(t, step, 0, "solution", "1"), "It is 3, as one adds.")
	require.Equal(t, before, read(t, file))
	out = do(t, step, 0, "solution", "-put", "1")
	kept := regexp.MustCompile(`kept in (\S+)\.\n`).FindStringSubmatch(out)
	require.NotNil(t, kept, out)
	require.Contains(t, read(t, filepath.Join(root, kept[1])), `errors.New("bad")`)
	change(t, file, `"another"`, `"other"`)
	require.Equal(t, sumGo, read(t, file), "it is as it was, to the byte")
	require.Contains(t, read(t, filepath.Join(root, recordName)), `"hints": 3`)
}

// A chapter beyond the steps has exercises as a step has. The step's programs use its code.
func TestChapter(t *testing.T) {
	root := newCourse(t)
	chapter := filepath.Join(root, "step1-sum/further/count")
	for name, text := range map[string]string{
		"README.md":            "# Count\n",
		"count.go":             strings.NewReplacer("package sum", "package count", "Sum(", "Count(", "// Sum", "// Count").Replace(sumGo),
		"count_test.go":        strings.NewReplacer("package sum", "package count", "TestSum", "TestCount", "Sum(", "Count(").Replace(sumTest),
		"exercises/1-count.md": strings.NewReplacer("1.1: the sum", "count.1: counting", "TestSum", "TestCount").Replace(text),
	} {
		write(t, filepath.Join(chapter, name), text)
	}
	write(t, filepath.Join(root, "step1-sum/further/notes/a.go"), "package notes\n") // no README: no chapter
	write(t, filepath.Join(root, "step2-next/README.md"), "")
	require.Contains(t, do(t, root, 1, "sync", "-check"), "count.1.txt")
	do(t, root, 0, "sync")
	out := do(t, root, 0, "prove")
	require.Regexp(t, `ok   exercise 1\.1 \(the sum\): 11 lines .*, 1 of 2 mistakes made`, out)
	require.Contains(t, out, "ok   exercise count.1 (counting): 11 lines")
	require.Regexp(t, `ok   exercise count\.1 .*, 2 of 2 mistakes made`, do(t, chapter, 0, "prove", "1"))
	require.Contains(t, do(t, chapter, 0, "list"), "count.1  counting\n     count.go, Count")
	require.NotContains(t, do(t, filepath.Join(root, "step1-sum"), 0, "list"), "counting")

	require.Contains(t, do(t, chapter, 0, "start"), "Write:\n  count.go:")
	require.Equal(t, sumGo, read(t, filepath.Join(root, "step1-sum/sum.go")), "the step's exercise of that number stays")
	missing := "exercise count.1 (counting) is started and not written yet, and the program needs it: " +
		"write it, or type 'make solution EX=1 PUT=1' in step1-sum/further/count\n"
	for _, dir := range []string{".", "step1-sum", "step1-sum/further/count", "step2-next"} {
		require.Contains(t, do(t, filepath.Join(root, dir), 1, "pieces"), missing, dir)
	}
	require.Contains(t, do(t, chapter, 1, "check", "1"), "count.go:")
	change(t, filepath.Join(root, "step1-sum/sum_test.go"), "func TestSum\\(t \\*testing.T\\) {", "func TestSum(t *testing.T) {\n\tt.Fatal(\"exercise count.1 is not written yet\")")
	require.Contains(t, do(t, filepath.Join(root, "step1-sum"), 1, "check", "1"), "It ran into exercise count.1")
	require.Regexp(t, `(?m)^step1-sum +1.1 .*\n^count +count.1 +counting +started$`, do(t, root, 0, "progress"))

	do(t, chapter, 0, "hint", "1")
	do(t, chapter, 0, "solution", "-put", "1")
	require.Contains(t, do(t, root, 0, "pieces"), "2 pieces")
}

// A fork, a moved directive, another clone: the tree alone says how things are.
func TestTreeWithoutRecord(t *testing.T) {
	root := newCourse(t)
	step, file := filepath.Join(root, "step1-sum"), filepath.Join(root, "step1-sum/sum.go")
	do(t, step, 0, "start")
	require.NoError(t, os.Remove(filepath.Join(root, recordName)))
	change(t, file, "//\n//exercise:1\n", "")
	require.Contains(t, do(t, step, 1, "check", "1"), "is not written yet")
	do(t, step, 0, "solution", "-put", "1")
	require.Equal(t, strings.Replace(sumGo, "//\n//exercise:1\n", "", 1), read(t, file))
	change(t, file, `return n, nil`, "return n, err")
	require.Contains(t, do(t, root, 0, "progress"), "yours, not checked since it was changed")
	require.Contains(t, do(t, step, 0, "check", "1"), "2 of 2 tests pass")
	require.Contains(t, do(t, root, 0, "progress"), "done by you")

	change(t, file, `func Sum`, "func Add")
	require.Contains(t, do(t, step, 1, "check", "1"), "there is no function Sum. exercise 1.1 (the sum) asks for it")
	for _, text := range []string{"{", `{"exercises":null}`, `{"exercises":{"1.1":null}}`, `[]`} {
		write(t, filepath.Join(root, recordName), text)
		require.Contains(t, do(t, root, 1, "progress"), "Mend or remove it", text)
	}
}

func TestUsage(t *testing.T) {
	root := newCourse(t)
	step := filepath.Join(root, "step1-sum")
	for _, args := range [][]string{nil, {"nonsense"}, {"start", "-x"}} {
		require.Contains(t, do(t, step, 2, args...), "Usage", "%q", args)
	}
	require.Contains(t, do(t, step, 1, "hint"), "which one? make hint EX=1")
	require.Contains(t, do(t, root, 1, "start"), "do this in the folder of one, such as step1-relay")
	for _, n := range []string{"2", "x", "-1"} {
		require.Contains(t, do(t, step, 1, "check", "--", n), "step1-sum has no exercise "+n)
	}
	require.Contains(t, do(t, t.TempDir(), 1, "progress"), "not in the course")
}

// What the course says of an exercise must be so.
func TestProve(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"all is well":            {"exercises/1-a.md", "A loop", "Loop", "ok   exercise 1.1 (the sum): 11 lines to write"},
		"a test passes":          {"exercises/1-a.md", "TestNegative: A", "TestOther: A", "TestOther passes, so it says nothing"},
		"one fails, too":         {"exercises/1-a.md", "- `.` also: TestNothing\n", "", "write '- `.` also: TestNothing'"},
		"one doesn't fail":       {"exercises/1-a.md", "also: TestNothing", "also: TestNothing, TestOther", "write '- `.` also: TestNothing'"},
		"no such test":           {"exercises/1-a.md", "TestNegative: A", "TestNone: A", "has no test TestNone"},
		"the solution fails":     {"sum_test.go", "n != 3", "n != 4", "the solution fails TestSum"},
		"a patch is stale":       {"exercises/1-a.md", "n = x\n", "n = z\n", `mistake "The last number counts": sum.go`},
		"another patch is stale": {"exercises/1-a.md", "-\t\tn \\+= x", "-\t\tn += y", "its lines are not in the solution"},
		"nobody notices":         {"exercises/1-a.md", "n = x\n", "n += x + 0\n", "TestSum doesn't notice it"},
		"the message is another": {"exercises/1-a.md", "1 and 2 are 2", "1 and 2 are 5", "it is not recognised; the learner reads"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newCourse(t)
			change(t, filepath.Join(root, "step1-sum", c.file), c.old, c.new)
			code := 1
			if strings.HasPrefix(c.want, "ok") {
				code = 0
			}
			require.Contains(t, do(t, root, code, "prove", "-all"), strings.TrimSuffix(c.want, " sum.go"))
		})
	}
}

func TestProveFixes(t *testing.T) {
	root := newCourse(t)
	file := filepath.Join(root, "step1-sum/exercises/1-a.md")
	want := read(t, file)
	change(t, file, "also: TestNothing", "also: TestOther,\n  TestSomething")
	require.Contains(t, do(t, root, 0, "prove", "-fix"), "is corrected\nok   exercise 1.1")
	require.Equal(t, want, read(t, file))
}

func TestSolutionsAreOfTheCode(t *testing.T) {
	root := newCourse(t)
	file := filepath.Join(root, "step1-sum/sum.go")
	change(t, file, "n \\+= x", "n = n + x")
	require.Contains(t, do(t, root, 1, "sync", "-check"), "run 'make solutions'")
	require.Contains(t, do(t, root, 1, "prove"), "run 'make solutions'")
	do(t, root, 0, "sync")
	do(t, root, 0, "sync", "-check")
	write(t, filepath.Join(root, solutionsDir, "1.2.txt"), "")
	require.Contains(t, do(t, root, 1, "sync", "-check"), "belongs to no exercise")
	do(t, root, 0, "sync")
	change(t, file, "//exercise:1", "//exercise:2")
	require.Contains(t, do(t, root, 1, "sync"), "Sum is declared as exercise 2, and step1-sum/exercises has no text of that number")
	change(t, file, "//exercise:2", "// exercise")
	require.Contains(t, do(t, root, 1, "sync"), "no function has the directive '//exercise:1'")
}

// The sheet is the demo's questions and the exercises', and a second one has the answers.
func TestSheet(t *testing.T) {
	root := newCourse(t)
	write(t, filepath.Join(root, "shared/lab/topology.sh"), "echo WEB4=203.0.113.80\n")
	require.NoError(t, os.Chmod(filepath.Join(root, "shared/lab/topology.sh"), 0o755))
	write(t, filepath.Join(root, "step1-sum/demo.sh"), `FILE=/etc/x
act "Before: \"nothing\"" \
	"There is $FILE and $WEB4." \
	"what is 1 \\ 2?" \
	".5, and 'more'."
rm -rf /nonexistent
`)
	step := filepath.Join(root, "step1-sum")
	for _, args := range [][]string{{"sheet"}, {"sheet", "-answers"}} {
		out := do(t, step, 0, args...)
		for _, want := range []string{`Before: "nothing"`, "There is /etc/x and 203.0.113.80.", `what is 1 \e 2?`, "1.1 the sum", "Write Sum.", "What is 1 and 2?"} {
			require.Contains(t, out, want)
		}
		for _, answer := range []string{"Answer:\\fP \\&.5, and 'more'.", "It is 3, as one adds."} {
			require.Equal(t, len(args) == 2, strings.Contains(out, answer), answer)
		}
		cmd := exec.Command("groff", "-ms", "-K", "utf8", "-T", "utf8", "-ww")
		cmd.Stdin = strings.NewReader(out)
		page, err := cmd.CombinedOutput()
		require.NoError(t, err)
		require.NotContains(t, string(page), "warning")
	}
	require.NoError(t, os.Remove(filepath.Join(step, "demo.sh")))
	require.Contains(t, do(t, step, 1, "sheet"), "demo.sh has no acts")
}

func TestTextIsChecked(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"title":        {"# Exercise 1.1", "# Exercise 1.2", "isn't '# Exercise 1.1: TITLE'"},
		"section":      {"## Predict", "## Foretell", "none of the sections"},
		"no task":      {"Write Sum.", "", "is missing"},
		"test":         {"TestSum: The", "TestSum The", "a test is written"},
		"hint":         {"2. An", "4. An", "hint 2 is written"},
		"no patch":     {"```diff\n-\t\tn ", "-\t\tn ", "has no patch"},
		"open patch":   {"n = x\n```", "n = x\n", "has no patch"},
		"mistake":      {"TestNegative: An attacker", "An attacker", "write 'TestName: What is wrong.'"},
		"unknown test": {"TestNegative: An attacker", "TestOther: An attacker", "TestOther is not among the exercise's tests"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &exercise{step: "step1-sum", number: 1}
			require.NoError(t, e.parse(text))
			require.Equal(t, "The sum is not right, and that matters.", e.tests[0].meaning)
			require.Equal(t, []string{"A loop.", "An addition,\n   in the loop.", "Both."}, e.hints)
			require.Equal(t, map[string][]string{".": {"TestNothing"}}, e.also)

			changed := strings.Replace(text, c.old, c.new, 1)
			require.NotEqual(t, text, changed)
			require.ErrorContains(t, (&exercise{step: "step1-sum", number: 1}).parse(changed), c.want)
		})
	}
}
