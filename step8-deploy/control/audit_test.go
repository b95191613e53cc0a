package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The log notes who has asked for what, and how that went, in a file for root's eyes.
func TestAudit(t *testing.T) {
	a := NewAudit(filepath.Join(t.TempDir(), "audit.log"))
	entries, err := a.latest()
	require.NoError(t, err)
	require.Empty(t, entries)
	a.Add(Entry{UID: 7, User: "seven", PID: 70, Do: "added", Client: "alice"})
	a.Add(Entry{UID: 8, Do: "revoked", Client: "x\n{\"do\":\"fake\"}\x1b" + strings.Repeat("y", 1000), Error: "no"})
	info, err := os.Stat(a.name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	text, err := os.ReadFile(a.name)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(text), "\n"), "an entry is one line: %s", text)
	require.Less(t, len(text), 1000)
	entries, err = a.latest()
	require.NoError(t, err)
	require.Equal(t, "alice", entries[0].Client)
	require.Equal(t, 7, entries[0].UID)
	require.Contains(t, entries[1].Client, "\ufffd")
	require.Equal(t, "no", entries[1].Error)

	// What a crash has left does not hide the rest.
	require.NoError(t, os.WriteFile(a.name, append(text, `{"time":"2026`...), 0o600))
	entries, err = a.latest()
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// Its size is bounded, and the latest entries are there.
func TestAuditIsBounded(t *testing.T) {
	a := NewAudit(filepath.Join(t.TempDir(), "audit.log"))
	old := []byte(strings.Repeat(strings.Repeat("x", 999)+"\n", maxAudit/1000))
	require.NoError(t, os.WriteFile(a.name, old, 0o600))
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 25 {
				a.Add(Entry{Do: "added", Client: fmt.Sprintf("%d-%d", g, i)})
			}
		})
	}
	all.Wait()
	entries, err := a.latest()
	require.NoError(t, err)
	require.Len(t, entries, 100)
	for _, name := range []string{a.name, a.name + olderAudit} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(maxAudit))
	}
	list, err := os.ReadDir(filepath.Dir(a.name))
	require.NoError(t, err)
	require.Len(t, list, 2)
}

// A link in its place is not followed, and a change goes on without the log.
func TestAuditThatCantBeWritten(t *testing.T) {
	dir := t.TempDir()
	a := NewAudit(filepath.Join(dir, "audit.log"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
	require.NoError(t, os.Symlink("other", a.name))
	var told []Event
	do := a.Change("POST /x", "revoked", func(e Event) { told = append(told, e) }, func(r *Request) (Change, string, string, error) {
		if r.Name == "bad" {
			return Change{}, r.Name, "", errors.New("no")
		}
		return Change{Client: r.Name}, r.Name, "", nil
	}).Do
	answer, err := do(&Request{Name: "alice", By: User{UID: os.Getuid()}})
	require.NoError(t, err)
	require.Equal(t, Change{Client: "alice"}, answer)
	_, err = do(&Request{Name: "bad"})
	require.EqualError(t, err, "no")
	text, err := os.ReadFile(filepath.Join(dir, "other"))
	require.NoError(t, err)
	require.Empty(t, text)
	require.Len(t, told, 1)
	require.Equal(t, "alice", told[0].Client)
	require.Equal(t, os.Getuid(), told[0].By.UID)
}
