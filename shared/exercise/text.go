package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"stepvpn/shared/atomicfile"
)

const hints = 3 // in each exercise: a nudge, the idea, an outline

var (
	testItem    = regexp.MustCompile("(?s)^- `(\\.\\S*)` (Test\\w+): (\\S.*)$")
	alsoItem    = regexp.MustCompile("(?s)^- `(\\.\\S*)` also: ([\\w\\s,]+)$")
	hintItem    = regexp.MustCompile(`(?s)^\d\. (\S.*)$`)
	mistakeItem = regexp.MustCompile("(?s)^(Test\\w+)(?:, `([^`]+)`)?: (\\S.*)$")
)

// parse reads the text of an exercise:
//
//	# Exercise 4.3: the replay window
//
//	## Task
//	What to write, and where.
//
//	## Predict
//	A question to answer before anything is run.
//
//	## Answer
//	The answer, and why the solution is as it is. 'make solution' shows it.
//
//	## Tests
//	- `./secure` TestWindow: What is wrong when it fails, and why that matters.
//	- `./secure` also: TestLoss, TestOrder
//
//	## Hints
//	1. A nudge.
//	2. The idea.
//	3. An outline.
//
//	## Mistakes
//	### The window moves too early
//	TestForgery, `text in its output`: What is wrong, and why that matters.
//	```diff
//	 a line of the solution
//	-a line that is taken out
//	+a line that comes in its place
//	```
//
// An item goes on until the next begins. Which mistake it is decides the first that fits. The tests named after "also" fail
// until the exercise is solved, too, but are no judges of it.
func (e *exercise) parse(text string) error {
	title, rest, _ := strings.Cut(text, "\n")
	var found bool
	if e.title, found = strings.CutPrefix(title, "# Exercise "+e.id()+": "); !found || e.title == "" {
		return fmt.Errorf("the first line isn't '# Exercise %s: TITLE'", e.id())
	}
	for _, section := range split(rest, "## ") {
		name, body, _ := strings.Cut(section, "\n")
		var err error
		switch name {
		case "## Task":
			e.task = strings.TrimSpace(body)
		case "## Predict":
			e.predict = strings.TrimSpace(body)
		case "## Answer":
			e.answer = strings.TrimSpace(body)
		case "## Tests":
			err = e.parseTests(body)
		case "## Hints":
			err = e.parseHints(body)
		case "## Mistakes":
			err = e.parseMistakes(body)
		default:
			err = fmt.Errorf("%q is none of the sections Task, Predict, Answer, Tests, Hints and Mistakes", name)
		}
		if err != nil {
			return err
		}
	}
	if e.task == "" || e.predict == "" || e.answer == "" || len(e.tests) == 0 || len(e.hints) != hints || len(e.mistakes) == 0 {
		return fmt.Errorf("a task, a prediction, an answer, a test, %d hints and a mistake are needed; one of them is missing", hints)
	}
	return nil
}

func (e *exercise) parseTests(body string) error {
	e.also = make(map[string][]string)
	for _, item := range split(body, "- ") {
		if m := alsoItem.FindStringSubmatch(item); m != nil {
			e.also[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
			continue
		}
		m := testItem.FindStringSubmatch(item)
		if m == nil {
			return fmt.Errorf("a test is written '- `./relay` TestName: What is wrong.', and not %q", item)
		}
		e.tests = append(e.tests, test{m[1], m[2], join(m[3])})
	}
	return nil
}

// writeAlso writes the list of the tests of a package that fail as well into the text.
func (e *exercise) writeAlso(root, pkg string, also []string) error {
	name := filepath.Join(root, e.file)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	begin, rest, _ := strings.Cut(string(text), "\n## Tests\n")
	tests, end, _ := strings.Cut(rest, "\n\n")
	items := slices.DeleteFunc(split("\n"+tests, "- "), func(item string) bool {
		m := alsoItem.FindStringSubmatch(item)
		return m != nil && m[1] == pkg
	})
	if len(also) > 0 {
		items = append(items, wrap(fmt.Sprintf("- `%s` also: %s", pkg, strings.Join(also, ", ")), "  "))
	}
	return atomicfile.Write(name, []byte(begin+"\n## Tests\n"+strings.Join(items, "\n")+"\n\n"+end), atomicfile.Options{Mode: 0o644})
}

// wrap breaks a text into lines, of which all but the first are indented.
func wrap(text, indent string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case width+1+len(word) > 120:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

func (e *exercise) parseHints(body string) error {
	for i := range hints {
		var item string
		if item, body, _ = strings.Cut(body, fmt.Sprintf("\n%d. ", i+2)); i > 0 {
			item = fmt.Sprintf("%d. ", i+1) + item
		}
		m := hintItem.FindStringSubmatch(strings.TrimSpace(item))
		if m == nil {
			return fmt.Errorf("hint %d is written '%d. Text.', and not %q", i+1, i+1, item)
		}
		e.hints = append(e.hints, m[1])
	}
	return nil
}

func (e *exercise) parseMistakes(body string) error {
	for _, item := range split(body, "### ") {
		title, rest, _ := strings.Cut(item, "\n")
		m := mistake{title: strings.TrimPrefix(title, "### ")}
		words, patch, _ := strings.Cut(rest, "```diff\n")
		patch, _, closed := strings.Cut(patch, "```")
		if !closed {
			return fmt.Errorf("mistake %q has no patch: '```diff', lines of it, '```'", m.title)
		}
		m.patch = strings.Split(strings.TrimSuffix(patch, "\n"), "\n")
		says := mistakeItem.FindStringSubmatch(strings.TrimSpace(words))
		if says == nil {
			return fmt.Errorf("mistake %q: write 'TestName: What is wrong.' or 'TestName, `text of its output`: What is wrong.'", m.title)
		}
		m.test, m.output, m.meaning = says[1], says[2], join(says[3])
		known := false
		for _, t := range e.tests {
			known = known || t.name == m.test
		}
		if !known {
			return fmt.Errorf("mistake %q: %s is not among the exercise's tests", m.title, m.test)
		}
		e.mistakes = append(e.mistakes, m)
	}
	return nil
}

// split cuts the text in front of each line that begins with mark. What stands before the first such line must be blank;
// if it isn't, it is the first part.
func split(text, mark string) (parts []string) {
	for i, part := range strings.Split("\n"+text, "\n"+mark) {
		if part = strings.TrimSpace(part); i > 0 {
			parts = append(parts, mark+part)
		} else if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// join makes one line of several.
func join(text string) string { return strings.Join(strings.Fields(text), " ") }

// apply makes the mistake out of the solution's text. The patch's lines that begin with a space or with "-" must be there,
// once, one below the other; how far they are indented doesn't matter.
func (m mistake) apply(solution string) (string, error) {
	var before, after []string
	for _, line := range m.patch {
		if line == "" {
			line = " "
		}
		switch text := line[1:]; line[0] {
		case ' ':
			before, after = append(before, text), append(after, text)
		case '-':
			before = append(before, text)
		case '+':
			after = append(after, text)
		default:
			return "", fmt.Errorf("a line of a patch begins with ' ', '-' or '+', and not as in %q", line)
		}
	}
	lines := strings.Split(solution, "\n")
	at := -1
	for i := 0; i+len(before) <= len(lines); i++ {
		same := true
		for j, line := range before {
			same = same && strings.TrimSpace(lines[i+j]) == strings.TrimSpace(line)
		}
		if same && at >= 0 {
			return "", errors.New("its lines stand twice in the solution: add one that makes them unique")
		}
		if same {
			at = i
		}
	}
	if at < 0 || len(before) == 0 {
		return "", errors.New("its lines are not in the solution, one below the other")
	}
	return strings.Join(append(append(append([]string(nil), lines[:at]...), after...), lines[at+len(before):]...), "\n"), nil
}
