package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const rows = `# A step

<!-- reading: core of 10 lines -->
| Core, in this order | Lines | Notice |
|---|--:|---|
| [relay/pump.go](relay/pump.go) | 3 | the loop, as in a \| b |
| [relay/pair.go](relay/pair.go) | 7 | two loops |
| **2 files** | **10** | |

| Second reading | Lines | What it is there for |
|---|--:|---|
| [relay](relay) | 9 | too many callers |
| **2 files** | **9** | |
<!-- end -->
The rest.
`

// A step makes a step's folder: the README, and files of so many lines.
func step(t *testing.T, readme string, files map[string]int) string {
	dir := t.TempDir()
	for file, lines := range files {
		file = filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x\n", lines)), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o644))
	file := filepath.Join(dir, "README.md")
	require.NoError(t, os.WriteFile(file, []byte(readme), 0o644))
	return file
}

func relay() map[string]int {
	return map[string]int{
		"relay/pump.go": 3, "relay/pair.go": 7, "relay/goodbye.go": 5, "relay/unit.service.in": 4,
		// These files do not count.
		"relay/pump_test.go": 100, "relay/testdata/a.go": 100, "relay/README.md": 100, "relay/.new": 100, "out/x.go": 100, "bin/y.go": 100,
		"further/other/z.go": 100,
	}
}

func TestTheTablesAreFilledAndThenTheyAreFine(t *testing.T) {
	var bare []string // as an author may write them
	for line := range strings.Lines(rows) {
		switch {
		case strings.HasPrefix(line, "| [relay"):
			cells := strings.SplitN(line, "|", 4)
			_, path, _ := strings.Cut(strings.Trim(cells[1], " )"), "(")
			bare = append(bare, "| "+path+" | |"+cells[3])
		case !strings.HasPrefix(line, "| **"):
			bare = append(bare, line)
		}
	}
	file := step(t, strings.Join(bare, ""), relay())
	require.ErrorContains(t, refresh(file, true, true), "relay/pump.go has 3 lines, and the table says 0")
	require.NoError(t, refresh(file, false, true))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, rows, string(got))
	require.NoError(t, refresh(file, true, true))
}

// A chapter has tables as a step has, and no go.mod.
func TestAChapterHasTables(t *testing.T) {
	dir := filepath.Join(filepath.Dir(step(t, rows, relay())), "further", "chapter")
	for file, lines := range relay() {
		file = filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x\n", lines)), 0o644))
	}
	file := filepath.Join(dir, "README.md")
	require.NoError(t, os.WriteFile(file, []byte(rows), 0o644))
	require.NoError(t, refresh(file, true, true))
	require.NoError(t, os.WriteFile(file, []byte("# A chapter\n"), 0o644))
	require.ErrorContains(t, refresh(file, true, true), "a step or chapter has one table")
	t.Chdir(dir)
	require.ErrorContains(t, refresh("README.md", true, true), "a step or chapter has one table")
}

func TestWhatIsWrongWithTheTables(t *testing.T) {
	for _, c := range []struct {
		name   string
		readme func(string) string
		files  func(map[string]int)
		want   string
	}{
		{name: "a file has grown", files: func(f map[string]int) { f["relay/pump.go"] = 4 },
			want: "relay/pump.go has 4 lines, and the table says 3; run: go run stepvpn/shared/readme -no-demo "},
		{name: "a folder has grown", files: func(f map[string]int) { f["relay/goodbye.go"] = 6 },
			want: "relay has 10 lines, and the table says 9"},
		{name: "a sum is wrong", readme: func(s string) string { return strings.Replace(s, "**10**", "**9**", 1) },
			want: "heads or sums"},
		{name: "a file is gone", files: func(f map[string]int) { delete(f, "relay/pair.go") },
			want: "relay/pair.go: no such file or directory: correct or remove its row"},
		{name: "a file is in no table", files: func(f map[string]int) { f["cmd/relay/main.go"] = 1 },
			want: "cmd/relay/main.go is in neither table: write a row for it or for its folder"},
		{name: "a file is in two rows", readme: func(s string) string {
			return strings.Replace(s, "[relay](relay)", "[again](relay/pump.go)", 1)
		}, want: "relay/pump.go is in two rows"},
		{name: "a folder has nothing else", files: func(f map[string]int) { delete(f, "relay/goodbye.go"); delete(f, "relay/unit.service.in") },
			want: "relay has no file that is not in another row"},
		{name: "a row has no note", readme: func(s string) string { return strings.Replace(s, "two loops ", "", 1) },
			want: "relay/pair.go has no note"},
		{name: "the core is too long", files: func(f map[string]int) { f["relay/pair.go"] = 9 },
			want: "the core has 12 lines, and may have 11 (10 and a tenth): move a file to second reading, or split one"},
		{name: "the core has too many files", readme: func(s string) string {
			var more strings.Builder
			for i := range 9 {
				fmt.Fprintf(&more, "| [%d.go](%d.go) | 0 | more |\n", i, i)
			}
			return strings.Replace(s, "| **2 files** | **10**", more.String()+"| **11 files** | **10**", 1)
		}, files: func(f map[string]int) {
			for i := range 9 {
				f[fmt.Sprintf("%d.go", i)] = 0
			}
		}, want: "the core has 11 files, and may have 10"},
		{name: "no table", readme: func(string) string { return "# A step\n" },
			want: "a step or chapter has one table of what to read, and there are 0"},
		{name: "no core", readme: func(string) string {
			return "<!-- reading: core of 700 lines -->\n| Core | Lines | Notice |\n<!-- end -->\n"
		}, want: "the block at line 1: there is no row in the table of the core"},
		{name: "no row", readme: func(s string) string { return strings.Replace(s, "| 7 | two loops |", "|", 1) },
			want: "is not a row of the form | file | lines | note |"},
		{name: "a third table", readme: func(s string) string { return strings.Replace(s, "<!-- end", "\n| x |\n<!-- end", 1) },
			want: `there is a third table at "| x |"`},
		{name: "no end", readme: func(s string) string { return strings.Replace(s, "<!-- end -->", "", 1) },
			want: "line 3: the block that begins with '<!-- reading: core of 10 lines -->' has no <!-- end -->"},
	} {
		t.Run(c.name, func(t *testing.T) {
			readme, files := rows, relay()
			if c.readme != nil {
				readme = c.readme(rows)
			}
			if c.files != nil {
				c.files(files)
			}
			require.ErrorContains(t, refresh(step(t, readme, files), true, true), c.want)
		})
	}
	require.NoError(t, refresh(step(t, rows, relay()), true, true), "as it was")
	longer := relay()
	longer["relay/pair.go"]++ // a tenth over the aim
	require.NoError(t, refresh(step(t, rows, longer), false, true))
}
