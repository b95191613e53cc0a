// Package lastseen remembers when each client was last connected, in a file that outlives the
// server. Introduced in step 8.
//
// The file has one line for each client of the registry that was ever connected, so the
// registry bounds its size. A line has the public key, and the time (RFC 3339, UTC, in
// seconds). While the server changes its key, a third word is the server's next key, if the
// client last used that one. The file grants no access, so a problem with it never stops the
// server: a damaged file is set aside, and a failed write is tried again.
package lastseen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

const (
	// saveEvery is the shortest time between two writes of the file: a server that is killed
	// forgets which clients were connected within this time.
	saveEvery = time.Minute

	maxClients = 1 << 16 // as many as a registry has
	maxLine    = 128     // bytes
	maxSize    = maxClients * maxLine
)

// Times say when clients were last connected, and by which key of the server.
type Times map[noise.PublicKey]Seen

// A Seen says when a client was last connected, in whole seconds, and by which key of the
// server: zero means the key that the server is changing from.
type Seen struct {
	At time.Time
	By noise.PublicKey
}

// Read reads a file. A file that does not exist is empty.
func Read(name string) (Times, error) {
	text, _, err := atomicfile.Read(name, maxSize, atomicfile.NoFollow)
	if errors.Is(err, fs.ErrNotExist) {
		return Times{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parse(string(text))
}

// parse reads the text of a file. Its errors give the number of the line, but none of its
// contents.
func parse(text string) (Times, error) {
	times, n := make(Times), 0
	for line := range strings.Lines(text) {
		n++
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, by, more := strings.Cut(rest, " ")
		key, err1 := noise.ParseKey[noise.PublicKey](word)
		when, err2 := time.Parse(time.RFC3339, at)
		_, twice := times[key]
		seen := Seen{At: when.UTC()}
		var err3 error
		if more {
			seen.By, err3 = noise.ParseKey[noise.PublicKey](by)
		}
		if len(line) > maxLine || n > maxClients || err1 != nil || err2 != nil || err3 != nil || twice {
			return nil, fmt.Errorf("line %d is not a public key and a time", n)
		}
		times[key] = seen
	}
	return times, nil
}

// String returns the text that parse reads, sorted by key.
func (t Times) String() string {
	var b strings.Builder
	for _, key := range slices.SortedFunc(maps.Keys(t), func(a, b noise.PublicKey) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprint(&b, noise.FormatKey(key), " ", t[key].At.UTC().Format(time.RFC3339))
		if by := t[key].By; by != (noise.PublicKey{}) {
			fmt.Fprint(&b, " ", noise.FormatKey(by))
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// A Log keeps the file up to date. Its methods are safe for concurrent use.
type Log struct {
	name    string
	known   func(noise.PublicKey) bool
	changed chan struct{} // holds one element when there is something to save

	mu    sync.Mutex // guards times
	times Times

	saving sync.Mutex // guards the rest
	saved  string
	failed bool // the last save has failed
}

// Open reads the file. known reports whether a client is (still) in the registry: others are
// left out.
func Open(name string, known func(noise.PublicKey) bool) *Log {
	l := &Log{name: name, known: known, changed: make(chan struct{}, 1)}
	var err error
	if l.times, err = Read(name); err == nil {
		l.saved = l.times.String()
		return l
	}
	l.times = make(Times)
	now, err2 := atomicfile.SetAside(name)
	if err2 != nil {
		now = "in its place: " + err2.Error()
	}
	slog.Warn("the file that says when clients were last seen is damaged and was set aside: 'clients list' begins with no times", "file", name, "damage", err, "now", now)
	return l
}

// Note records when a client was connected, and by which key of the server: see Seen. It
// ignores a time that is not later than the known one.
func (l *Log) Note(key noise.PublicKey, at time.Time, by noise.PublicKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, before := Seen{at.Truncate(time.Second), by}, l.times[key]
	if now.At.Before(before.At) || now.At.Equal(before.At) && now.By == before.By {
		return
	}
	l.times[key] = now
	select {
	case l.changed <- struct{}{}:
	default: // Run has been told already
	}
}

// Of returns when a client was last noted; the zero Seen and false if it never was.
func (l *Log) Of(key noise.PublicKey) (Seen, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, known := l.times[key]
	return seen, known
}

// Run writes the file whenever there is news, until ctx ends: soon after the first news, and
// then at most once per minute. Before each write it calls look, which must call Note for the
// clients that are connected.
func (l *Log) Run(ctx context.Context, look func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		case <-time.After(saveEvery):
		}
		look()
		l.Save()
		select {
		case <-ctx.Done():
			return
		case <-time.After(saveEvery):
		}
		look()
	}
}

// Save writes the file, if there is anything new. It logs when that begins to fail, and when
// it works again.
func (l *Log) Save() {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	maps.DeleteFunc(l.times, func(key noise.PublicKey, _ Seen) bool { return !l.known(key) })
	text := l.times.String()
	l.mu.Unlock()
	if text == l.saved {
		return
	}
	err := atomicfile.Write(l.name, []byte(text), atomicfile.Options{})
	switch {
	case err != nil && !l.failed:
		slog.Warn("the times when clients were last seen can't be saved: trying again", "error", err)
	case err == nil && l.failed:
		slog.Info("the times when clients were last seen can be saved again", "file", l.name)
	}
	if l.failed = err != nil; !l.failed {
		l.saved = text
	}
}
