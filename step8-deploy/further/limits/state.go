package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/further/limits/plan"
)

// The file of what was used has a line for each client that has used anything of a quota: its
// public key, the day on which the period has begun, and bytes. One that has left the registry
// stays until its period is over. The file grants nothing, so
// a problem with it never stops the server: a damaged file is set aside, and quotas begin anew.

const (
	maxClients = 1 << 16              // as many as a registry has
	maxLines   = 2 * maxClients       // with those that have left it
	maxLine    = 44 + 1 + 10 + 1 + 21 // bytes
)

// parseState reads the text of the file. Its errors give the number of the line, but none of its
// contents.
func parseState(text string) (map[noise.PublicKey]plan.Usage, error) {
	all, n := make(map[noise.PublicKey]plan.Usage), 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(line) > maxLine || n > maxLines || len(words) != 3 {
			return nil, fmt.Errorf("line %d is not a public key, a day and a number", n)
		}
		key, err1 := noise.ParseKey[noise.PublicKey](words[0])
		since, err2 := time.Parse(time.DateOnly, words[1])
		bytes, err3 := strconv.ParseUint(words[2], 10, 64)
		_, twice := all[key]
		if err1 != nil || err2 != nil || err3 != nil || twice {
			return nil, fmt.Errorf("line %d is not a public key, a day and a number", n)
		}
		all[key] = plan.Usage{Since: since, Bytes: bytes}
	}
	return all, nil
}

// formatState returns the text that parseState reads.
func formatState(all map[noise.PublicKey]plan.Usage) string {
	var lines []string
	for key, u := range all {
		lines = append(lines, fmt.Sprintf("%s %s %d\n", noise.FormatKey(key), u.Since.Format(time.DateOnly), u.Bytes))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// load reads a file, which need not exist.
func load(name string) (text []byte, all map[noise.PublicKey]plan.Usage, err error) {
	text, _, err = atomicfile.Read(name, maxLines*maxLine, atomicfile.NoFollow)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	all, err = parseState(string(text))
	return text, all, err
}

// Check returns an error if a file of what was used is damaged, so that a start sets it aside. It need not exist.
func Check(name string) error {
	_, _, err := load(name)
	return err
}

// read reads the file, and sets it aside if it is damaged. What it returns is not nil.
func (t *Table) read() map[noise.PublicKey]plan.Usage {
	text, all, err := load(t.cfg.State)
	if err == nil {
		t.saved = string(text)
		return all
	}
	now, err2 := atomicfile.SetAside(t.cfg.State)
	if err2 != nil {
		now = "in its place: " + err2.Error()
	}
	slog.Warn("the file of what clients have used is damaged and was set aside: all quotas begin anew", "file", t.cfg.State, "damage", err, "now", now)
	return make(map[noise.PublicKey]plan.Usage)
}

// Save writes the file, if there is anything new. It logs when that begins to fail, and when it
// works again.
//
// It does not hold mu while it writes: the hub and each status would wait
// for a slow disk.
func (t *Table) Save() {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	now := time.Now()
	maps.DeleteFunc(t.gone, func(_ noise.PublicKey, u plan.Usage) bool { return u.At(now, t.cfg.Default.StartDay()).Bytes == 0 })
	all := maps.Clone(t.gone)
	for key, c := range t.clients {
		if used := c.used.Load(); used > 0 {
			all[key] = plan.Usage{Since: c.since, Bytes: used}
		}
	}
	t.mu.Unlock()
	text := formatState(all)
	if text == t.saved {
		return
	}
	err := t.write(t.cfg.State, []byte(text), atomicfile.Options{})
	switch {
	case err != nil && !t.failed:
		slog.Warn("what clients have used can't be saved: trying again", "error", err)
	case err == nil && t.failed:
		slog.Info("what clients have used can be saved again", "file", t.cfg.State)
	}
	if t.failed = err != nil; !t.failed {
		t.saved = text
	}
}
