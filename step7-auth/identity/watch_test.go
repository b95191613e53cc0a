package identity

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// names returns what a change says, in words.
func names(c *Change) string {
	var words []string
	for _, list := range []struct {
		what    string
		clients []*Client
	}{{"added", c.Added}, {"revoked", c.Revoked}, {"expired", c.Expired}, {"updated", c.Updated}} {
		for _, c := range list.clients {
			words = append(words, list.what+" "+c.Name)
		}
	}
	return strings.Join(words, ", ")
}

func TestDiff(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 6, d, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct{ what, old, new, want string }{
		{"nothing", "alice KEY(a) addr=10.8.0.7", "# moved\n\n  alice   KEY(a) addr=10.8.0.7 #", ""},
		{"added", "", "alice KEY(a)", "added alice"},
		{"revoked", "alice KEY(a)\nbob KEY(b)", "bob KEY(b)", "revoked alice"},
		{"another key", "alice KEY(a)", "alice KEY(b)", "added alice, revoked alice"},
		{"another name", "alice KEY(a)", "bob KEY(a)", "updated bob"},
		{"two that change names", "alice KEY(a)\nbob KEY(b)", "bob KEY(a)\nalice KEY(b)", "updated bob, updated alice"},
		{"an address", "alice KEY(a)", "alice KEY(a) addr=10.8.0.7", "updated alice"},
		{"another address", "alice KEY(a) addr=10.8.0.7", "alice KEY(a) addr=10.8.0.8", "updated alice"},
		{"a password", "alice KEY(a)", "alice KEY(a) password=" + somePHC, "updated alice"},
		{"no password", "alice KEY(a) password=" + somePHC, "alice KEY(a)", "updated alice"},
		{"another password", "alice KEY(a) password=" + somePHC, "alice KEY(a) password=" + strings.Replace(somePHC, "t=2", "t=3", 1), "updated alice"},
		{"an expiry to come", "alice KEY(a)", "alice KEY(a) expires=2026-06-03", "updated alice"},
		{"an expiry that is over", "alice KEY(a)", "alice KEY(a) expires=2026-06-01", "expired alice, updated alice"},
		{"time goes by", "alice KEY(a) expires=2026-06-02", "alice KEY(a) expires=2026-06-02", "expired alice"},
		{"it was over", "alice KEY(a) expires=2026-06-01", "alice KEY(a) expires=2026-06-01", ""},
		{"over for even longer", "alice KEY(a) expires=2026-06-01", "alice KEY(a) expires=2026-05-01", "updated alice"},
		{"more time", "alice KEY(a) expires=2026-06-01", "alice KEY(a) expires=2026-06-03", "updated alice"},
		{"the same moment", "alice KEY(a) expires=2026-06-03", "alice KEY(a) expires=2026-06-03T02:00:00+02:00", ""},
		{"added too late", "", "alice KEY(a) expires=2026-06-01", "added alice, expired alice"},
	} {
		change := Diff(registry(t, tt.old), day(1), registry(t, tt.new), day(2))
		require.Equal(t, tt.want, names(change), tt.what)
		require.Equal(t, tt.want == "", change.Empty(), tt.what)
	}
	r := registry(t, "alice KEY(a) expires=2026-06-02\nbob KEY(b) expires=2026-06-01\ncarol KEY(c)")
	require.Equal(t, "expired alice", names(Diff(r, day(1), r, day(2))))
	require.Empty(t, names(Diff(r, day(2), r, day(3))))
	require.Empty(t, names(Diff(r, day(2), r, day(1))), "the clock was set back")
}

// A watch is a Watcher that runs in a bubble of package synctest.
type watch struct {
	*Watcher
	path string

	mu      sync.Mutex
	changes []string     // guarded by mu
	log     bytes.Buffer // guarded by mu
}

// Write is for the log.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// startWatch watches a registry until the end of the test.
func startWatch(t *testing.T, text string) *watch {
	w := &watch{path: filepath.Join(t.TempDir(), "clients")}
	write(t, w.path, text)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Writer(w), nil)))
	var err error
	w.Watcher, err = Watch(w.path)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		w.Run(ctx, func(c *Change) {
			require.Same(t, w.Registry(), c.New, "the new one is in force")
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, names(c))
		})
	})
	t.Cleanup(func() {
		stop()
		run.Wait()
		slog.SetDefault(before)
	})
	return w
}

// after waits, and requires that these changes were seen meanwhile.
func (w *watch) after(t *testing.T, wait time.Duration, want ...string) {
	t.Helper()
	time.Sleep(wait)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Equal(t, want, w.changes)
	w.changes = nil
}

// logged returns the number of lines with the text since the last call.
func (w *watch) logged(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.log.Reset()
	return strings.Count(w.log.String(), text)
}

const (
	soon    = 2*pollInterval + time.Millisecond // when a change has been seen
	broken  = "the last good one stays in force"
	reading = "registry read again"
)

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t, "alice KEY(a)\nbob KEY(b)\n")
		w.after(t, time.Minute)
		require.Zero(t, w.logged(reading), "nothing has changed")

		require.NoError(t, Edit(w.path, func(d *Draft) error { return d.Revoke("bob", time.Now()) }))
		w.after(t, soon, "revoked bob")
		require.Equal(t, 1, w.Registry().Len())
		require.Equal(t, 1, w.logged(reading))

		// Written over instead of replaced.
		write(t, w.path, "alice KEY(a) addr=10.8.0.7\ncarol KEY(c)")
		w.after(t, soon, "added carol, updated alice")

		// Comments are no reason to disturb anybody.
		write(t, w.path, "# hello\nalice KEY(a) addr=10.8.0.7\ncarol KEY(c)")
		w.after(t, soon)
	})
}

func TestWatchKeepsTheLastGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t, "alice KEY(a)\n")
		for _, spoil := range []func(){
			func() { write(t, w.path, "alice KEY(a)\n???\n") },
			func() { require.NoError(t, os.Remove(w.path)) },
			func() { write(t, w.path, "bob KEY(b)\n# a new one"); require.NoError(t, os.Chmod(w.path, 0o666)) },
		} {
			spoil()
			w.after(t, time.Minute)
			require.Equal(t, 1, w.logged(broken), "one line, not one each time it is looked at")
			_, ok := w.Registry().ByName("alice")
			require.True(t, ok)
			w.Reload() // who asks again, is told again
			w.after(t, time.Millisecond)
			require.Equal(t, 1, w.logged(broken))
		}
		require.NoError(t, os.Chmod(w.path, 0o600))
		w.after(t, soon, "added bob, revoked alice")
		require.Equal(t, 1, w.logged(reading))
	})
}

// Half a file, or none, on the way from the old to the new one revokes nobody.
func TestWatchWaitsForSlowEditors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t, "alice KEY(a)\nbob KEY(b)\n")
		const pause = pollInterval - 50*time.Millisecond
		write(t, w.path, "")
		w.after(t, pause)
		write(t, w.path, "alice KEY(a)\n")
		w.after(t, pause)
		require.NoError(t, os.Remove(w.path))
		w.after(t, pause)
		write(t, w.path, "alice KEY(a)\nbob KEY(b)\ncarol ")
		w.after(t, pause)
		write(t, w.path, "alice KEY(a)\nbob KEY(b)\ncarol KEY(c)\n")
		w.after(t, soon, "added carol")
		require.Zero(t, w.logged(broken))
	})
}

func TestWatchReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWatch(t, "alice KEY(a)\n")
		require.NoError(t, Edit(w.path, func(d *Draft) error { return d.Add(testClient("bob")) }))
		w.Reload()
		w.Reload()
		w.after(t, time.Millisecond, "added bob")
		w.logged("")
		w.after(t, time.Minute)
		require.LessOrEqual(t, w.logged(reading), 1, "it is not read again by itself")
	})
}

func TestWatchSeesClientsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour) // the clock begins in 2000, and so do dates
		at := func(d time.Duration) string { return " expires=" + time.Now().Add(d).Format(time.RFC3339) }
		w := startWatch(t, "alice KEY(a)"+at(10*time.Second)+"\nbob KEY(b)"+at(20*time.Second)+
			"\ncarol KEY(c)"+at(-time.Second)+"\ndora KEY(d)\n")
		w.after(t, 10*time.Second-time.Millisecond)
		w.after(t, pollInterval, "expired alice")
		w.after(t, 5*time.Second)
		// Alice gets more time, bob less.
		write(t, w.path, "alice KEY(a)"+at(time.Minute)+"\nbob KEY(b)"+at(time.Second)+"\ndora KEY(d)\n")
		w.after(t, soon, "revoked carol, updated alice, updated bob")
		w.after(t, 2*time.Second, "expired bob")
		w.after(t, time.Minute, "expired alice")
		w.after(t, time.Minute)
	})
}

func TestWatchWhatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients")
	_, err := Watch(path)
	require.EqualError(t, err, "there is no registry "+path)
}
