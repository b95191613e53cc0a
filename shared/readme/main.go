// Readme keeps the output that a README shows true. A block
//
//	<!-- output: COMMAND -->
//	```text
//	what the command printed
//	```
//	<!-- end -->
//
// is filled with the output of COMMAND, run by bash in the README's folder. With
// -check nothing is written: it is an error when a block no longer has the shape
// of what the command prints. Numbers, times and hashes may differ.
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
	check := flag.Bool("check", false, "compare, write nothing")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "Usage: readme [-check] README.md ...")
		os.Exit(2)
	}
	failed := false
	for _, file := range flag.Args() {
		if err := refresh(file, *check); err != nil {
			fmt.Fprintf(os.Stderr, "readme: %v\n", err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// refresh fills the blocks of one file, or only compares them.
func refresh(file string, check bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	blocks, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var out strings.Builder
	var stale []error
	for _, b := range blocks {
		if b.command == "" {
			out.WriteString(b.text)
			continue
		}
		output, err := run(filepath.Dir(file), b.command)
		if err != nil {
			return fmt.Errorf("%s: '%s': %w", file, b.command, err)
		}
		compare := func(s string) string { return s }
		if b.command == transcript {
			compare = withoutPrograms
		}
		if line := difference(compare(b.content), compare(output)); check && line != "" {
			stale = append(stale, fmt.Errorf("%s: the output of '%s' is stale, at %q; run 'make demo' and then 'make readme' there", file, b.command, line))
		}
		out.WriteString(b.render(output))
	}
	if check || out.String() == string(text) {
		return errors.Join(stale...)
	}
	return os.WriteFile(file, []byte(out.String()), 0o644)
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

// A block is a piece of a README: text as it is, or the output of a command.
type block struct {
	text    string // the whole of it, if there is no command
	command string
	fence   string // such as "```text"
	content string
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
		m := opening.FindStringSubmatch(strings.TrimSuffix(lines[i], "\n"))
		if m == nil {
			plain.WriteString(lines[i])
			continue
		}
		blocks = append(blocks, block{text: plain.String()})
		plain.Reset()
		b := block{command: m[1]}
		end := i + 1
		for end < len(lines) && strings.TrimSpace(lines[end]) != "<!-- end -->" {
			end++
		}
		if end == len(lines) || end < i+3 || !strings.HasPrefix(lines[i+1], "```") || lines[end-1] != "```\n" {
			return nil, fmt.Errorf("line %d: after '%s' comes a block between ``` and ```, then <!-- end -->", i+1, strings.TrimSpace(lines[i]))
		}
		b.fence = strings.TrimSuffix(lines[i+1], "\n")
		b.content = strings.Join(lines[i+2:end-1], "")
		blocks = append(blocks, b)
		i = end
	}
	return append(blocks, block{text: plain.String()}), nil
}

// What may differ between two runs: hex of some length, 0x1f, MAC addresses, IPv6
// addresses that are made of them, numbers; and how many blanks align them.
var (
	varying = regexp.MustCompile(`\b[0-9a-f]{8,}\b|\b0x[0-9a-f]+\b|\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b|\bfe80::[0-9a-f:]+|[0-9]+([.:,][0-9]+)*`)
	blanks  = regexp.MustCompile(`[ \t]+`)
)

func mask(line string) string {
	return strings.TrimSpace(blanks.ReplaceAllString(varying.ReplaceAllString(line, "#"), " "))
}

// transcript is the command that shows a demo.
const transcript = "cat out/demo.txt"

// withoutPrograms leaves out of a demo's transcript what programs printed, which
// is indented by four blanks: another version of curl may say it in other words.
// What the demo itself says remains, and the commands.
func withoutPrograms(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "    ") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// difference returns the first line of got that does not have the shape of the
// line in its place in shown, or "" if all have.
func difference(shown, got string) string {
	a, b := strings.Split(strings.TrimSpace(shown), "\n"), strings.Split(strings.TrimSpace(got), "\n")
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(b):
			return a[i] // no longer printed
		case i >= len(a) || mask(a[i]) != mask(b[i]):
			return b[i]
		}
	}
	return ""
}
