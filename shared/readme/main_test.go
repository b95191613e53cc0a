package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = "# Title\n\n<!-- output: cat out.txt -->\n```text\nold\n```\n<!-- end -->\nrest\n"

func write(t *testing.T, readme, output string) string {
	dir := t.TempDir()
	file := filepath.Join(dir, "README.md")
	require.NoError(t, os.WriteFile(file, []byte(readme), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "out.txt"), []byte(output), 0o644))
	return file
}

func TestRefreshFillsABlockAndNothingElse(t *testing.T) {
	file := write(t, sample, "12 packets\n")
	require.NoError(t, refresh(file, false, false))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "# Title\n\n<!-- output: cat out.txt -->\n```text\n12 packets\n```\n<!-- end -->\nrest\n", string(got))
	require.NoError(t, refresh(file, true, false))
}

func TestCheckSaysWhatIsStaleAndWritesNothing(t *testing.T) {
	file := write(t, sample, "new\n")
	require.ErrorContains(t, refresh(file, true, false), `'cat out.txt' is stale, at "new"`)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, sample, string(got))
}

func TestOnlyADemosNumbersMayDiffer(t *testing.T) {
	code := write(t, "<!-- output: cat out.txt -->\n```text\n      guard.go  90 lines\n```\n<!-- end -->\n", "      guard.go 108 lines\n")
	require.ErrorContains(t, refresh(code, true, true), `stale, at "guard.go 108 lines"; run: go run stepvpn/shared/readme -no-demo `+code)

	demo := write(t, "<!-- output: cat out/demo.txt -->\n```text\nsent 12 packets\n```\n<!-- end -->\n", "")
	require.NoError(t, refresh(demo, true, true), "without a demo nobody looks")
	require.ErrorContains(t, refresh(demo, true, false), "demo.txt")
	out := filepath.Join(filepath.Dir(demo), "out")
	require.NoError(t, os.Mkdir(out, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(out, "demo.txt"), []byte("sent 345 packets\n"), 0o644))
	require.NoError(t, refresh(demo, true, false))
	require.NoError(t, os.WriteFile(filepath.Join(out, "demo.txt"), []byte("lost 345 packets\n"), 0o644))
	require.ErrorContains(t, refresh(demo, true, false), `at "lost 345 packets"; run: make -C `)
}

func TestDifference(t *testing.T) {
	for _, c := range []struct{ shown, got, want string }{
		{"time=0.35 ms", "time=12.1 ms", ""},
		{"sha 9a7d107e2a3d", "sha 00ffee0011aa", ""},
		{"10:00:01.5 INFO up", "23:59:59.123456 INFO up", ""},
		{"a    1", "a 100", ""},
		{"flow 0x7", "flow 0xbeef", ""},
		{"link/ether aa:bb:cc:dd:ee:ff", "link/ether 12:34:56:78:9a:bc", ""},
		{"fe80::1:2 > ff02::2", "fe80::a8bb:ccff:fedd:eeff > ff02::2", ""},
		{"3 passed", "3 failed", "3 failed"},
		{"one\ntwo", "one", "two"},
		{"one", "one\ntwo", "two"},
		{"beef", "face", "face"}, // short words are words
	} {
		require.Equal(t, c.want, difference(c.shown, c.got, mask), "%q and %q", c.shown, c.got)
	}
}

func TestBadBlocksAndCommands(t *testing.T) {
	for _, readme := range []string{
		"<!-- output: true -->\n",
		"<!-- output: true -->\n<!-- end -->\n",
		"<!-- output: true -->\ntext\ntext\n<!-- end -->\n",
		"<!-- output: true -->\n```\n<!-- end -->\n",
	} {
		require.ErrorContains(t, refresh(write(t, readme, ""), true, false), "line 1:", "%q", readme)
	}
	require.Error(t, refresh(write(t, "<!-- output: exit 3 -->\n```\nx\n```\n<!-- end -->\n", ""), true, false))
}

func TestWhatProgramsPrintInADemoMayDiffer(t *testing.T) {
	require.Equal(t, "alice# curl\n   [passed] a check\n", withoutPrograms("alice# curl\n    timed out\n   [passed] a check\n"))
}
