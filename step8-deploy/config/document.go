package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is a file of settings after its TOML was parsed: the value of each key, and its
// line.
type document struct {
	file     string
	lines    []string
	values   map[string]any   // as the TOML library makes them: string, int64, bool, []any...
	places   map[string]place // of each key
	problems Problems
}

// A place says on which line of the file a key is.
type place struct {
	line     int   // of the key
	elements []int // lines of the elements, if the value is a list
}

// parse reads TOML. If that fails, the document has a problem and no values.
func parse(file string, text []byte) *document {
	d := &document{file: file, places: make(map[string]place)}
	for line := range bytes.Lines(text) {
		d.lines = append(d.lines, strings.TrimRight(string(line), "\r\n"))
	}
	if err := toml.Unmarshal(text, &d.values); err != nil {
		line, what := 0, err.Error()
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = e.Position()
		}
		what, allowed := d.plain(line, strings.TrimPrefix(what, "toml: "))
		d.add(line, what, allowed)
		d.values = nil
		return d
	}
	d.locate(text)
	return d
}

// locate fills in the places. The text is valid TOML.
func (d *document) locate(text []byte) {
	var p unstable.Parser
	p.Reset(text)
	inTable := false
	for p.NextExpression() {
		e := p.Expression()
		names, line := d.key(&p, e)
		switch {
		case e.Kind != unstable.KeyValue || len(names) > 1:
			if !inTable {
				d.add(line, fmt.Sprintf("tables, such as %q, are not allowed", strings.Join(names, ".")),
					"a list of keys, each on a line of its own")
			}
			inTable = e.Kind != unstable.KeyValue // what follows belongs to it
			delete(d.values, names[0])
		case !inTable:
			at := place{line: line}
			if e.Value().Kind == unstable.Array {
				for it := e.Value().Children(); it.Next(); {
					at.elements = append(at.elements, p.Shape(it.Node().Raw).Start.Line)
				}
			}
			d.places[names[0]] = at
		}
	}
}

// key returns the parts of an expression's key, and its line.
func (d *document) key(p *unstable.Parser, e *unstable.Node) (names []string, line int) {
	for it := e.Key(); it.Next(); {
		if line == 0 {
			line = p.Shape(it.Node().Raw).Start.Line
		}
		names = append(names, string(it.Node().Data))
	}
	return names, line
}

// maxText is how many bytes of a line are shown.
const maxText = 160

// add notes a problem on a line.
func (d *document) add(line int, what, allowed string) {
	p := Problem{File: d.file, Line: line, What: hide(what), Allowed: allowed}
	if line > 0 && line <= len(d.lines) && !d.secret(line) {
		p.Text = strings.TrimSpace(d.lines[line-1])
		if len(p.Text) > maxText {
			p.Text = strings.ToValidUTF8(p.Text[:maxText], "") + "..."
		}
	}
	d.problems = append(d.problems, p)
}

// has reports whether the document has the key, with a value that is not "".
func (d *document) has(key string) bool { return d.values[key] != nil && d.values[key] != "" }

// addTo notes a problem with the value of a key, or with one element of it.
func (d *document) addTo(key string, element int, what, allowed string) {
	at := d.places[key]
	line := at.line
	if element < len(at.elements) && element >= 0 && at.elements[element] >= line {
		line = at.elements[element]
	}
	d.add(line, what, allowed)
}

// failed returns the problems as an error, sorted by line, or nil.
func (d *document) failed() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return d.problems
}
