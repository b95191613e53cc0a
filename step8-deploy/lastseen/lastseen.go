// Package lastseen remembers when each client was connected last, in a file that outlives the
// server. Introduced in step 8.
//
// The file has one line for each client of the registry that was ever connected, so its
// size is bounded by that: the public key, and the time (RFC 3339, UTC, in seconds). While the
// server changes its key, a third word is its next key, if the client last came by that. Nobody
// comes in by it, so nothing that happens to it keeps a server from running: what is
// damaged is set aside, and what can't be written is tried again.
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
	// saveEvery is how often the file is written at most: a server that is killed forgets
	// who came in so long before.
	saveEvery = time.Minute

	maxClients = 1 << 16 // as many as a registry has
	maxLine    = 128     // bytes
	maxSize    = maxClients * maxLine
)

// Times are when clients were connected last, and how.
type Times map[noise.PublicKey]Seen

// A Seen is when a client was connected last, in whole seconds, and by which key of the server:
// zero is the one that the server has always had.
type Seen struct {
	At time.Time
	By noise.PublicKey
}

// Read returns what is in a file. One that is not there is empty.
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

// parse reads the text of a file. Its errors name the line, and none of what is there.
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

// String is what parse reads, in the order of the keys.
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

// A Log keeps the file. Its methods may be called from any goroutine.
type Log struct {
	name    string
	known   func(noise.PublicKey) bool
	changed chan struct{} // holds one element when there is something to save

	mu    sync.Mutex // guards times
	times Times

	saving sync.Mutex // guards the rest
	saved  string
	failed bool // to save last
}

// Open reads the file. known tells who is (still) in the registry: others are left out.
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
	slog.Warn("the file of when clients were last seen is damaged and was set aside: 'clients list' begins anew", "file", name, "damage", err, "now", now)
	return l
}

// Note notes when a client was connected, and by which key of the server: see Seen. An
// earlier time than is known is no news.
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
	default: // it is known
	}
}

// Run keeps the file written until ctx ends: soon after the first news, and then no more
// often than each minute. look is called before, and calls Note for those who are there.
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

// Save writes the file, if there is anything new. It says so when that begins to fail, and
// when it works again.
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
		slog.Warn("when clients were last seen can't be saved, trying on", "error", err)
	case err == nil && l.failed:
		slog.Info("when clients were last seen is saved again", "file", l.name)
	}
	if l.failed = err != nil; !l.failed {
		l.saved = text
	}
}
