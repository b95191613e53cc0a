package main

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A code is the text of a Go file, and where its functions and imports are.
type code struct {
	text  string
	file  *ast.File
	start func(ast.Node) int // offsets into text
	end   func(ast.Node) int
}

// parseCode reads a Go file. It may have errors that a compiler finds, but its syntax must be right.
func parseCode(name, text string) (*code, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	offset := func(pos token.Pos) int { return fset.Position(pos).Offset }
	return &code{text, file, func(n ast.Node) int { return offset(n.Pos()) }, func(n ast.Node) int { return offset(n.End()) }}, nil
}

// funcName is "pump", or "pair.end" for a method, whether or not its receiver is a pointer.
func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

var directive = regexp.MustCompile(`^//exercise:(\d+)$`)

// holes returns the functions that have a directive, by the exercise's number.
func (c *code) holes() map[int][]string {
	found := make(map[int][]string)
	for _, d := range c.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Doc != nil {
			for _, line := range f.Doc.List {
				if m := directive.FindStringSubmatch(line.Text); m != nil {
					n, _ := strconv.Atoi(m[1]) // digits
					found[n] = append(found[n], funcName(f))
				}
			}
		}
	}
	return found
}

// body returns the function's body without its braces, and the line on which the function begins.
func (c *code) body(name string) (text string, line int, err error) {
	f, err := c.find(name)
	if err != nil {
		return "", 0, err
	}
	from, to := c.inside(f)
	return c.text[from:to], 1 + strings.Count(c.text[:from], "\n"), nil
}

// function returns the whole function, without its doc comment.
func (c *code) function(name string) (string, error) {
	f, err := c.find(name)
	if err != nil {
		return "", err
	}
	return c.text[c.start(f.Type):c.end(f.Body)], nil
}

func (c *code) find(name string) (*ast.FuncDecl, error) {
	for _, d := range c.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && funcName(f) == name {
			return f, nil
		}
	}
	return nil, fmt.Errorf("there is no function %s", name)
}

// inside returns where the text between the function's braces is.
func (c *code) inside(f *ast.FuncDecl) (from, to int) { return c.start(f.Body) + 1, c.end(f.Body) - 1 }

// replace returns the file with another body for the function.
func (c *code) replace(file, name, body string) (*code, error) {
	f, err := c.find(name)
	if err != nil {
		return nil, err
	}
	from, to := c.inside(f)
	return parseCode(file, c.text[:from]+body+c.text[to:])
}

// imports returns the lines of the import declaration, as they stand between its brackets.
func (c *code) imports() (lines []string) {
	for _, d := range c.file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			text := strings.TrimSpace(strings.TrimPrefix(c.text[c.start(g):c.end(g)], "import"))
			if g.Lparen.IsValid() {
				text = strings.Trim(text, "()")
			}
			lines = append(lines, strings.Split(strings.Trim(text, "\n"), "\n")...)
		}
	}
	return lines
}

// tidy returns the file with just the imports that it uses, out of its own and those of the course's file, in the order of
// the latter.
func (c *code) tidy(file string, course []string) (*code, error) {
	used := make(map[string]bool)
	ast.Inspect(c.file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	own := c.imports()
	var lines []string
	for _, line := range course {
		if name := importName(line); name == "" || name == "_" || used[name] { // "": a blank line
			lines = append(lines, line)
		}
	}
	for _, line := range own { // what the learner has imported besides
		if name := importName(line); (name == "_" || used[name]) && !slices.ContainsFunc(course, func(l string) bool { return importName(l) == name }) {
			lines = append(lines, line)
		}
	}
	block := ""
	switch text := strings.Trim(strings.Join(lines, "\n"), "\n"); {
	case strings.TrimSpace(text) == "":
	case !strings.Contains(text, "\n"):
		block = "import " + strings.TrimSpace(text)
	default:
		block = "import (\n" + text + "\n)"
	}
	text := c.text
	for _, d := range slices.Backward(c.file.Decls) {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			text = strings.TrimRight(text[:c.start(g)], "\n") + "\n\n" + strings.TrimLeft(text[c.end(g):], "\n")
		}
	}
	at := c.end(c.file.Name)
	text = text[:at] + "\n\n" + block + "\n\n" + strings.TrimLeft(text[at:], "\n")
	tidy, err := format.Source([]byte(text))
	if err != nil {
		return nil, err
	}
	return parseCode(file, string(tidy))
}

var (
	importLine = regexp.MustCompile(`^\s*(?:([\w.]+)\s+)?"([^"]+)"`)
	version    = regexp.MustCompile(`^v\d+$`)
)

// importName is the name by which the file uses what the line imports; "" if the line imports nothing.
func importName(line string) string {
	m := importLine.FindStringSubmatch(line)
	switch {
	case m == nil:
		return ""
	case m[1] != "":
		return m[1]
	case version.MatchString(path.Base(m[2])):
		return path.Base(path.Dir(m[2]))
	}
	return path.Base(m[2])
}
