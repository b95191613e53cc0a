package identity

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A Watcher follows the registry in a file while the server runs. Registry and Reload are
// safe for concurrent use.
type Watcher struct {
	path    string // the registry's name, for messages
	at      string // where it is read: path, or a copy
	current atomic.Pointer[Registry]
	reload  chan struct{} // has an element if Reload was called

	// Owned by the goroutine in Run.
	read    Stamp     // the file, when it was last read
	seen    Stamp     // the file, when it was last looked at
	checked time.Time // when clients were last checked for expiry
}

// Watch loads the registry. Call Run to follow it.
func Watch(path string) (*Watcher, error) { return WatchCopy(path, path) }

// WatchCopy is Watch for a program that reads a copy of the registry, at another path, as
// the process without privileges does in step 8.
func WatchCopy(path, at string) (*Watcher, error) {
	w := &Watcher{path: path, at: at, reload: make(chan struct{}, 1), checked: time.Now()}
	w.read = StampOf(at) // before it is read, so that no later change is missed
	w.seen = w.read
	r, err := load(path, at)
	if err != nil {
		return nil, err
	}
	w.current.Store(r)
	return w, nil
}

// pollInterval is how often a Watcher looks at the file and at the clock. Looking
// is cheap, and works on every file system.
const pollInterval = 250 * time.Millisecond

// Registry returns the registry as it was read last.
func (w *Watcher) Registry() *Registry { return w.current.Load() }

// Reload makes Run read the file again at once, changed or not. It does not wait.
// Typically a program calls it on SIGHUP.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default: // Run is about to do so anyway
	}
}

// Run follows the file until ctx ends. Each time that the file has changed or a client
// has expired, Registry returns the new registry, and then Run calls onChange. A file is
// read when it has not changed for 0.25 s, as an editor may have written just half of it;
// so a change takes at most about half a second.
//
// A file that is broken or gone changes nothing, but Run logs a line.
//
// A goroutine that lets in a client may have looked at a registry that is replaced
// meanwhile, and finish after the call of onChange. So it must look at Registry again
// afterwards.
func (w *Watcher) Run(ctx context.Context, onChange func(*Change)) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-w.reload:
			asked = true
		case <-tick.C:
		}
		r := w.Registry()
		if quiet := w.look(); asked || quiet && w.seen != w.read {
			w.read = w.seen
			if loaded, err := load(w.path, w.at); err != nil {
				slog.Error("the registry is broken: the last good one stays in force", "error", err)
			} else {
				r = loaded
				slog.Info("registry read again", "file", w.path, "clients", r.Len())
			}
		}
		now := time.Now()
		change := Diff(w.Registry(), w.checked, r, now)
		w.checked = now
		w.current.Store(r)
		if !change.Empty() {
			onChange(change)
		}
	}
}

// look reports whether the file is as it was when look was last called.
func (w *Watcher) look() (quiet bool) {
	before := w.seen
	w.seen = StampOf(w.at)
	return w.seen == before
}

// A Stamp identifies a version of a file: if the file changes, so does its Stamp. (Step 8
// makes the copy when it has changed.)
type Stamp struct {
	inode    uint64
	size     int64
	modified time.Time
	mode     fs.FileMode
}

// StampOf returns the Stamp of a file, the zero Stamp if there is none.
func StampOf(path string) Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return Stamp{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime(), info.Mode()}
}
