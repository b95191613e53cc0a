package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// An act is one of a step's demo.
type act struct{ title, text, question, answer string }

// readActs prints the arguments of each "act" of a demo, which stand at the beginning of a line and go on where a line ends
// in a backslash, with a zero byte after each.
const readActs = `
act() { printf '%s\0' "$1" "$2" "${3-}" "${4-}"; }
eval "$("$1/shared/lab/topology.sh" show)"
eval "$(grep -E '^[A-Za-z]+=[A-Za-z0-9/.]+$' "$2")"
eval "$(sed -n '/^act "/,/[^\\]$/p' "$2")"`

func acts(ctx context.Context, root, step string) (list []act, err error) {
	demo := filepath.Join(root, step, "demo.sh")
	out, err := exec.CommandContext(ctx, "bash", "-euc", readActs, "bash", root, demo).Output()
	if err != nil {
		return nil, fmt.Errorf("the acts of %s can't be read: %w", demo, err)
	}
	fields := strings.Split(string(out), "\x00")
	for i := 0; i+4 < len(fields); i += 4 {
		list = append(list, act{fields[i], fields[i+1], fields[i+2], fields[i+3]})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no acts", demo)
	}
	return list, nil
}

// sheet writes what a class fills in for a step, or what a teacher has beside it, as a document for "groff -ms -K utf8".
func sheet(ctx context.Context, w io.Writer, root, step string, list []*exercise, answers bool) error {
	every, err := acts(ctx, root, step)
	if err != nil {
		return err
	}
	title := "Step " + strings.Replace(strings.TrimPrefix(step, "step"), "-", ": ", 1)
	if isChapter(step) {
		title = "Further: " + filepath.Base(step)
	}
	if answers {
		title += ", the answers"
	}
	d := &document{w: w}
	d.line(".nr PS 10\n.nr VS 13\n.nr PO 2c\n.nr LL 17c\n.TL\n" + roff(title))
	if !answers {
		d.line(".LP\nName: \\l'6c'\\h'1c'Date: \\l'4c'")
	}
	d.heading("The demo")
	for i, a := range every {
		d.paragraph(fmt.Sprintf("%d. %s", i+1, a.title), a.text)
		d.question(a.question, a.answer, answers)
	}
	d.heading("The exercises")
	for _, e := range list {
		d.paragraph(e.id()+" "+e.title, e.task)
		d.question(e.predict, e.answer, answers)
	}
	return d.err
}

// A document writes lines, until one can't be written.
type document struct {
	w   io.Writer
	err error
}

func (d *document) line(text string) {
	if d.err == nil {
		_, d.err = fmt.Fprintln(d.w, text)
	}
}

func (d *document) heading(text string) { d.line(".SH\n" + roff(text)) }

func (d *document) paragraph(title, text string) {
	d.line(".LP\n.ne 10v\n\\fB" + roff(title) + "\\fP\n.br\n" + roff(text))
}

// question has room for an answer, or the answer.
func (d *document) question(question, answer string, answers bool) {
	d.line(".QP\n\\fIPredict:\\fP " + roff(question))
	if answers {
		d.line(".QP\n\\fBAnswer:\\fP " + roff(answer))
		return
	}
	d.line(".nf")
	for range 3 {
		d.line(".sp 0.8\n\\D't 300u'\\D'l 13c 0'\\D't -1'")
	}
	d.line(".fi")
}

// roff makes text harmless to groff. Markdown's signs for code and emphasis are left out.
func roff(text string) string {
	text = strings.NewReplacer("\\", "\\e", "`", "", "**", "", "*", "").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line == "" {
			lines[i] = ".sp 0.5"
		} else if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = "\\&" + line
		}
	}
	return strings.Join(lines, "\n")
}
