// Readme keeps up to date what a README shows of programs and files. A block
//
//	<!-- output: COMMAND -->
//	```text
//	what the command printed
//	```
//	<!-- end -->
//
// is filled with the output of COMMAND, run by bash in the README's folder. A block
//
//	<!-- reading: core of 700 lines -->
//	| Core | Lines | Notice |
//	|---|--:|---|
//	| relay/pump.go | | the loop |
//
//	| Second reading | Lines | What it is there for |
//	|---|--:|---|
//	| relay/goodbye.go | | too many callers |
//	<!-- end -->
//
// gets the number of lines of each file, and the sums. Each Go file below the README's
// folder, except tests, must be in one of the two tables; see reading for the limits. The
// folder "further" of a step has chapters, with READMEs and tables of their own.
//
// With -check nothing is written: it is an error if a block differs from what would be
// written. In the transcript of a demo, numbers, times and hashes may differ.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Bounds for one block's command.
const (
	maxTime   = 2 * time.Minute
	maxOutput = 64 << 10 // bytes
)

func main() {
	check := flag.Bool("check", false, "only compare, and write nothing")
	noDemo := flag.Bool("no-demo", false, "leave out the transcripts of demos, which exist only after 'make demo'")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "Usage: readme [-check] [-no-demo] README.md ...")
		os.Exit(2)
	}
	failed := false
	for _, file := range flag.Args() {
		if err := refresh(file, *check, *noDemo); err != nil {
			fmt.Fprintf(os.Stderr, "readme: %v\n", err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// refresh fills the blocks of one file, or only compares them.
func refresh(file string, check, noDemo bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	blocks, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var out strings.Builder
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(file+": "+format, args...))
	}
	tables := 0
	for _, b := range blocks {
		switch {
		case b.reading != nil:
			tables++
			now, wrong := b.reading.count(filepath.Dir(file))
			for _, err := range wrong {
				problem("%w", err)
			}
			if check && now.render() != b.text {
				problem("%s; run: %s", now.difference(*b.reading), b.remedy(file))
			}
			out.WriteString(now.render())
		case b.command == "" || b.command == transcript && noDemo:
			out.WriteString(b.text)
		default:
			output, err := run(filepath.Dir(file), b.command)
			if err != nil {
				return fmt.Errorf("%s: '%s': %w", file, b.command, err)
			}
			if line := b.difference(output); check && line != "" {
				problem("the output of '%s' is stale, at %q; run: %s", b.command, line, b.remedy(file))
			}
			out.WriteString(b.render(output))
		}
	}
	if needsTable(filepath.Dir(file)) && tables != 1 {
		problem("a step or chapter has one table of what to read, and there are %d: write '<!-- reading: core of 700 lines -->', the tables, and '<!-- end -->'", tables)
	}
	if !check && out.String() != string(text) {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

// needsTable tells whether dir is the folder of a step, which is a module, or of a chapter.
func needsTable(dir string) bool {
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(filepath.Dir(abs)) == further {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// run returns what the command prints to standard output.
func run(dir, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w %s", err, strings.TrimSpace(stderr.String()))
	}
	if len(out) > maxOutput {
		return "", fmt.Errorf("prints more than %d bytes", maxOutput)
	}
	return strings.Trim(string(out), "\n") + "\n", nil
}

// A block is a piece of a README: text as it is, the output of a command, or the tables
// of what to read.
type block struct {
	text    string // the whole block
	command string
	fence   string // such as "```text"
	content string
	reading *reading
}

func (b block) render(output string) string {
	return fmt.Sprintf("<!-- output: %s -->\n%s\n%s```\n<!-- end -->\n", b.command, b.fence, output)
}

var opening = regexp.MustCompile(`^<!-- output: (.+) -->$`)

// parse cuts a README into blocks.
func parse(text string) ([]block, error) {
	var blocks []block
	var plain strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSuffix(lines[i], "\n")
		output, table := opening.FindStringSubmatch(line), readingOpening.FindStringSubmatch(line)
		if output == nil && table == nil {
			plain.WriteString(lines[i])
			continue
		}
		blocks = append(blocks, block{text: plain.String()})
		plain.Reset()
		end := i + 1
		for end < len(lines) && strings.TrimSpace(lines[end]) != "<!-- end -->" {
			end++
		}
		if end == len(lines) {
			return nil, fmt.Errorf("line %d: the block that begins with '%s' has no <!-- end -->", i+1, line)
		}
		b := block{text: strings.Join(lines[i:end+1], "")}
		if table != nil {
			r, err := newReading(table[1], strings.Join(lines[i+1:end], ""))
			if err != nil {
				return nil, fmt.Errorf("the block at line %d: %w", i+1, err)
			}
			b.reading = &r
		} else {
			if end < i+3 || !strings.HasPrefix(lines[i+1], "```") || lines[end-1] != "```\n" {
				return nil, fmt.Errorf("line %d: after '%s' comes a block between ``` and ```, then <!-- end -->", i+1, line)
			}
			b.command = output[1]
			b.fence = strings.TrimSuffix(lines[i+1], "\n")
			b.content = strings.Join(lines[i+2:end-1], "")
		}
		blocks = append(blocks, b)
		i = end
	}
	return append(blocks, block{text: plain.String()}), nil
}

// The parts of a line that may differ between two runs of a demo: hex numbers of 8 digits
// or more, or after 0x, MAC addresses, IPv6 addresses made of them, numbers; and the number
// of blanks that align them.
var (
	varying = regexp.MustCompile(`\b[0-9a-f]{8,}\b|\b0x[0-9a-f]+\b|\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b|\bfe80::[0-9a-f:]+|[0-9]+([.:,][0-9]+)*`)
	blanks  = regexp.MustCompile(`[ \t]+`)
)

func mask(line string) string {
	return strings.TrimSpace(blanks.ReplaceAllString(varying.ReplaceAllString(line, "#"), " "))
}

// transcript is the command that prints a demo's transcript.
const transcript = "cat out/demo.txt"

// withoutPrograms removes from a demo's transcript the lines that programs printed, which
// are indented by four blanks: another version of curl may word them differently. The
// demo's own text and the commands remain.
func withoutPrograms(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "    ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// remedy returns the command that refreshes a block of file.
func (b block) remedy(file string) string {
	if b.command == transcript {
		return "make -C " + filepath.Dir(file) + " demo readme"
	}
	return "go run stepvpn/shared/readme -no-demo " + file
}

// difference returns the first line of output that differs from the block, or "" if none
// does. For a demo's transcript only the form of the lines must be the same.
func (b block) difference(output string) string {
	if b.command == transcript {
		return difference(withoutPrograms(b.content), withoutPrograms(output), mask)
	}
	return difference(b.content, output, func(line string) string { return line })
}

// difference returns the first line of got that differs from the line in its place in
// shown, after of has been applied to both; or "" if there is none.
func difference(shown, got string, of func(string) string) string {
	a, b := strings.Split(strings.TrimSpace(shown), "\n"), strings.Split(strings.TrimSpace(got), "\n")
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(b):
			return a[i] // no longer printed
		case i >= len(a) || of(a[i]) != of(b[i]):
			return b[i]
		}
	}
	return ""
}
