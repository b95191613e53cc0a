package wireguard

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
)

// This file remembers the timestamps of initiations. A client's next one must be later (whitepaper,
// section 5.1), also after a restart of the server, or somebody could send it an old one again.
// (That would cost the server a response, and make no session: only the client can send the first
// packet.)
//
// The file is a log: a line for each initiation that is answered, with the client's public key
// and the time, in nanoseconds since 1970. It is written before the answer is sent, so that
// nothing is lost when the server is killed. (When the machine loses its power, the last half
// minute may be.) When it has grown, it is written anew, with a line for each client.

// Times are the times of the newest initiations. They are not safe for concurrent use.
type Times struct {
	name   string
	newest map[noise.PublicKey]uint64
	known  func(noise.PublicKey) bool
	file   *os.File // nil if it can't be written
	lines  int      // in file
	failed bool     // the last write has failed
}

const (
	maxTimes     = 1 << 16 // clients, as many as a registry has
	maxTimeLine  = 44 + 1 + 20 + 1
	spareLines   = 1024                                    // how many lines more than clients a file may have...
	maxTimesFile = (2*maxTimes + spareLines) * maxTimeLine // ...besides a second one for each; in bytes
)

// OpenTimes reads a file, or begins it. known reports whether a client is (still) in the
// registry: others are forgotten. A damaged file is set aside: then an initiation that was
// recorded before may be answered.
func OpenTimes(name string, known func(noise.PublicKey) bool) *Times {
	t := &Times{name: name, known: known}
	text, _, err := atomicfile.Read(name, maxTimesFile, atomicfile.NoFollow)
	if err == nil {
		t.newest, err = parseTimes(string(text))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		aside, err2 := atomicfile.SetAside(name)
		if err2 != nil {
			aside = "in its place: " + err2.Error()
		}
		slog.Warn("the file of the times of initiations is damaged and was set aside", "file", name, "damage", err, "now", aside)
	}
	if t.newest == nil {
		t.newest = make(map[noise.PublicKey]uint64)
	}
	t.rewrite()
	return t
}

// parseTimes returns the newest time of each client in the text of a file. A last line without
// an end is left out: the write of it was cut off.
func parseTimes(text string) (map[noise.PublicKey]uint64, error) {
	times, n := make(map[noise.PublicKey]uint64), 0
	for line := range strings.Lines(text) {
		n++
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break
		}
		word, at, _ := strings.Cut(line, " ")
		key, err1 := noise.ParseKey[noise.PublicKey](word)
		time, err2 := strconv.ParseUint(at, 10, 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("line %d is not a public key and a time", n)
		}
		times[key] = max(times[key], time)
		if len(times) > maxTimes {
			return nil, fmt.Errorf("line %d: there are more than %d clients", n, maxTimes)
		}
	}
	return times, nil
}

func timeLine(key noise.PublicKey, time uint64) string {
	return fmt.Sprintf("%s %d\n", noise.FormatKey(key), time)
}

// Newest returns the time of a client's newest initiation, or 0.
func (t *Times) Newest(key noise.PublicKey) uint64 { return t.newest[key] }

// Note records the time of an initiation. If it can't be written, that is logged, and the
// client is let in all the same.
func (t *Times) Note(key noise.PublicKey, time uint64) {
	if time <= t.newest[key] {
		return
	}
	t.newest[key] = time
	if t.file == nil || t.lines >= 2*len(t.newest)+spareLines {
		t.rewrite()
		return
	}
	if _, err := t.file.WriteString(timeLine(key, time)); err != nil {
		t.report(err)
		t.rewrite() // if a part of the line was written
		return
	}
	t.lines++
}

// rewrite writes the file anew.
func (t *Times) rewrite() {
	t.Close()
	var b strings.Builder
	for key, time := range t.newest {
		if !t.known(key) {
			delete(t.newest, key)
			continue
		}
		b.WriteString(timeLine(key, time))
	}
	err := atomicfile.Write(t.name, []byte(b.String()), atomicfile.Options{})
	if err == nil {
		t.file, err = os.OpenFile(t.name, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	}
	t.lines = len(t.newest)
	t.report(err)
}

// report logs when writing begins to fail, and when it works again.
func (t *Times) report(err error) {
	switch {
	case err != nil && !t.failed:
		slog.Error("the times of initiations can't be saved: after a restart, an initiation that was recorded may be answered", "error", err)
	case err == nil && t.failed:
		slog.Info("the times of initiations can be saved again", "file", t.name)
	}
	t.failed = err != nil
}

// Close closes the file.
func (t *Times) Close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file = nil
	return f.Close()
}
