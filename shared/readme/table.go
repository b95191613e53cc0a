package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A reading is the block of a README that says which files to read, in two tables: first
// the core, then second reading. The author writes a row's file and note, and the program
// writes the rest: lines, sums and heads. A row may name a folder, which stands for those
// files in it that no other row names.
type reading struct {
	aim   int // the most lines that the core should have; up to a tenth more is no error
	parts [2][]row
}

// A row names one file or folder.
type row struct {
	path  string // relative to the README's folder
	files []string
	lines int // as wc -l counts them
	note  string
}

// maxCore is how many files may be in the core of a step or chapter.
const maxCore = 10

// further is the folder of a step that has its chapters, a folder each.
const further = "further"

var (
	readingOpening = regexp.MustCompile(`^<!-- reading: core of ([1-9][0-9]{0,4}) lines -->$`)
	link           = regexp.MustCompile(`^\[.*\]\((.*)\)$`)
)

// newReading reads the two tables of a block.
func newReading(aim, content string) (reading, error) {
	r := reading{}
	r.aim, _ = strconv.Atoi(aim)
	part, head := -1, false
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			head = false
		case !head:
			part, head = part+1, true
			if part == len(r.parts) {
				return r, fmt.Errorf("there is a third table at %q; two are expected, the core and second reading", line)
			}
		case strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| **"): // below the head, and the sum
		default:
			cells := strings.SplitN(strings.Trim(line, "|"), "|", 3)
			if len(cells) != 3 {
				return r, fmt.Errorf("%q is not a row of the form | file | lines | note |", line)
			}
			path := strings.TrimSpace(cells[0])
			if m := link.FindStringSubmatch(path); m != nil {
				path = m[1]
			}
			lines, _ := strconv.Atoi(strings.TrimSpace(cells[1])) // the author may leave it out
			r.parts[part] = append(r.parts[part], row{path: filepath.Clean(path), lines: lines, note: strings.TrimSpace(cells[2])})
		}
	}
	if len(r.parts[0]) == 0 {
		return r, errors.New("there is no row in the table of the core")
	}
	return r, nil
}

// count returns r with the files and lines of each row, as they are in dir, and what is
// wrong with the tables.
func (r reading) count(dir string) (_ reading, problems []error) {
	for p := range r.parts {
		r.parts[p] = slices.Clone(r.parts[p])
	}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	named := map[string]bool{} // the paths that have a row of their own
	for _, part := range r.parts {
		for _, row := range part {
			if named[row.path] {
				problem("%s is in two rows: remove one", row.path)
			}
			if row.note == "" {
				problem("%s has no note: say what to notice, or which failure it is there for", row.path)
			}
			named[row.path] = true
		}
	}

	covered := map[string]bool{} // files that belong to a row
	for p := range r.parts {
		for i := range r.parts[p] {
			row := &r.parts[p][i]
			files, err := filesOf(dir, row.path, named)
			if err != nil {
				problem("%s: %w: correct or remove its row", row.path, reason(err))
				continue
			}
			if len(files) == 0 {
				problem("%s has no file that is not in another row: remove its row", row.path)
			}
			row.files, row.lines = files, 0
			for _, file := range files {
				text, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					problem("%w", err)
				}
				row.lines += bytes.Count(text, []byte("\n"))
				covered[file] = true
			}
		}
	}

	all, err := filesOf(dir, ".", nil)
	if err != nil {
		problem("%w", err)
	}
	for _, file := range all {
		if strings.HasSuffix(file, ".go") && !covered[file] {
			problem("%s is in neither table: write a row for it or for its folder", file)
		}
	}
	files, lines := sum(r.parts[0])
	if files > maxCore {
		problem("the core has %d files, and may have %d: move some to second reading", files, maxCore)
	}
	if most := r.aim + r.aim/10; lines > most {
		problem("the core has %d lines, and may have %d (%d and a tenth): move a file to second reading, or split one", lines, most, r.aim)
	}
	return r, problems
}

// filesOf returns path if it is a file. For a folder, it returns all files in it and below
// it, except tests and their data, Markdown pages, built and hidden files, chapters, and
// those that are named.
func filesOf(dir, path string, named map[string]bool) ([]string, error) {
	info, err := os.Stat(filepath.Join(dir, path))
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	root := filepath.Join(dir, path)
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err = filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		base := entry.Name()
		other := name != path && (named[name] || strings.HasPrefix(base, "."))
		switch {
		case entry.IsDir():
			if other || base == "testdata" || name == "bin" || name == "out" || name == further {
				return fs.SkipDir
			}
		case !other && !strings.HasSuffix(base, "_test.go") && !strings.HasSuffix(base, ".md"):
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// reason returns the system's error, without the path.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func sum(rows []row) (files, lines int) {
	for _, row := range rows {
		files += len(row.files)
		lines += row.lines
	}
	return files, lines
}

// difference says which row has a different number of lines in shown, which is the block
// as it is in the README.
func (r reading) difference(shown reading) string {
	for p := range r.parts {
		for i, row := range r.parts[p] {
			if was := shown.parts[p][i]; was.lines != row.lines {
				return fmt.Sprintf("%s has %d lines, and the table says %d", row.path, row.lines, was.lines)
			}
		}
	}
	return "heads or sums of the tables are not as the program writes them"
}

func (r reading) render() string {
	var out strings.Builder
	fmt.Fprintf(&out, "<!-- reading: core of %d lines -->\n", r.aim)
	heads := [2]string{"| Core, in this order | Lines | Notice |", "\n| Second reading | Lines | What it is there for |"}
	for p, rows := range r.parts {
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&out, "%s\n|---|--:|---|\n", heads[p])
		for _, row := range rows {
			fmt.Fprintf(&out, "| [%s](%s) | %d | %s |\n", row.path, row.path, row.lines, row.note)
		}
		files, lines := sum(rows)
		fmt.Fprintf(&out, "| **%d files** | **%d** | |\n", files, lines)
	}
	out.WriteString("<!-- end -->\n")
	return out.String()
}
