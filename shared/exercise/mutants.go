package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A mutant is a core file with one small fault in it. A mutant that no test notices is a missing test.
type mutant struct {
	step, file string // the file, from the root
	line       int
	from, to   int // the bytes of the file that text replaces
	text       string
	what       string // "< becomes <=, in: if a < b {"
}

// mutantTime is how long the tests of a mutant may take: one that hangs is noticed, too.
const mutantTime = time.Minute

// mutants makes faults in the core files of the steps, at most n for each step (0: all), and prints those that no test of
// the file's package notices, or of the step if the package has none. The same seed makes the same choice in a step, whatever
// other steps are chosen.
func mutants(ctx context.Context, root string, chosen []string, n int, seed uint64) error {
	fmt.Printf("mutants: seed %d\n", seed)
	total, alive := 0, 0
	for _, step := range chosen {
		list, err := mutantsOf(root, step)
		if err != nil {
			return err
		}
		name := fnv.New64a()
		name.Write([]byte(step))
		random := rand.New(rand.NewPCG(seed, name.Sum64()))
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if n > 0 && len(list) > n {
			list = list[:n]
		}
		survivors := 0
		for _, m := range list {
			noticed, err := m.noticed(ctx, root)
			if err != nil {
				return err
			}
			if !noticed {
				survivors++
				fmt.Printf("%s:%d: no test notices it if %s\n", m.file, m.line, m.what)
			}
		}
		fmt.Printf("%s: %d of %d mutants survive\n", step, survivors, len(list))
		total, alive = total+len(list), alive+survivors
	}
	fmt.Printf("mutants: %d of %d survive\n", alive, total)
	return nil
}

var coreRow = regexp.MustCompile(`(?m)^\| \[[^]]+\]\(([^)]+\.go)\) \|`)

// coreFiles returns the core files of a step that are its own, from the root, as its README lists them.
func coreFiles(root, step string) (list []string, err error) {
	text, err := os.ReadFile(filepath.Join(root, step, "README.md"))
	if err != nil {
		return nil, err
	}
	core, _, found := bytes.Cut(text, []byte("\n| Second reading"))
	if !found {
		return nil, fmt.Errorf("%s/README.md has no table of what to read", step)
	}
	for _, m := range coreRow.FindAllSubmatch(core, -1) {
		if file := string(m[1]); !strings.HasPrefix(file, "../") {
			list = append(list, filepath.Join(step, file))
		}
	}
	return list, nil
}

func mutantsOf(root, step string) (list []mutant, err error) {
	files, err := coreFiles(root, step)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		c, err := readCode(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		for _, m := range c.mutants() {
			m.step, m.file = step, file
			list = append(list, m)
		}
	}
	return list, nil
}

// swaps are the operators that are easily confused.
var swaps = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.EQL: "!=", token.NEQ: "==", token.LAND: "||", token.LOR: "&&",
	token.ADD: "-", token.SUB: "+", token.MUL: "/", token.SHL: ">>", token.SHR: "<<",
}

// mutants returns the faults that can be made in the file: another operator, a condition that is always or never true, a
// statement left out, a loop's end missed.
func (c *code) mutants() (list []mutant) {
	add := func(from, to int, text, what string) {
		line := strings.Count(c.text[:from], "\n")
		source := strings.TrimSpace(strings.Split(c.text, "\n")[line])
		list = append(list, mutant{line: line + 1, from: from, to: to, text: text, what: what + ", in: " + source})
	}
	leaveOut := func(n ast.Node) { add(c.start(n), c.end(n), "", "the statement is left out") }
	ast.Inspect(c.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok != token.IMPORT
		case *ast.BinaryExpr:
			if text := swaps[n.Op]; text != "" && !isText(n.X) && !isText(n.Y) {
				at := c.end(n.X) + strings.Index(c.text[c.end(n.X):], n.Op.String())
				add(at, at+len(n.Op.String()), text, n.Op.String()+" becomes "+text)
			}
		case *ast.IfStmt:
			if n.Init == nil {
				add(c.start(n.Cond), c.end(n.Cond), "("+c.text[c.start(n.Cond):c.end(n.Cond)]+") && false", "the condition never holds")
				add(c.start(n.Cond), c.end(n.Cond), "("+c.text[c.start(n.Cond):c.end(n.Cond)]+") || true", "the condition always holds")
			}
		case *ast.ExprStmt:
			if call, ok := n.X.(*ast.CallExpr); ok && !isLog(call) {
				leaveOut(n)
			}
		case *ast.IncDecStmt, *ast.DeferStmt:
			leaveOut(n)
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				leaveOut(n)
			}
		case *ast.BranchStmt:
			if n.Tok == token.CONTINUE || n.Tok == token.BREAK {
				leaveOut(n)
			}
		}
		return true
	})
	return list
}

func isText(x ast.Expr) bool {
	lit, ok := x.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING
}

// isLog tells whether the call only says something to people.
func isLog(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && (x.Name == "slog" || x.Name == "log")
}

// noticed tells whether a test fails. A mutant that doesn't compile is noticed, too.
func (m mutant) noticed(ctx context.Context, root string) (bool, error) {
	dir, err := newFolder()
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	c, err := readCode(filepath.Join(root, m.file))
	if err != nil {
		return false, err
	}
	t := &tree{root: root}
	changed := *c
	changed.text = c.text[:m.from] + m.text + c.text[m.to:]
	t.files = map[string]*code{m.file: &changed}
	r := &runner{root: root, dir: dir, limit: mutantTime}
	if r.overlay, err = t.overlay(dir); err != nil {
		return false, err
	}
	pkg := "./" + filepath.Dir(strings.TrimPrefix(m.file, m.step+"/"))
	if tests, err := filepath.Glob(filepath.Join(root, m.step, pkg, "*_test.go")); err != nil || len(tests) == 0 {
		pkg = "."
	}
	one, err := r.run(ctx, m.step, test{pkg: pkg, name: ".*"})
	if build := (buildError)(""); errors.As(err, &build) {
		return true, nil
	}
	return !one.passed, err
}
