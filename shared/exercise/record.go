package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/atomicfile"
)

// recordName is the file, in the root, that says what a learner has done. A teacher collects it.
const recordName = "progress.json"

// maxRecord is the most bytes of it that are read.
const maxRecord = 1 << 20

// A record is a learner's progress.
type record struct {
	Learner   string           `json:"learner"`
	Exercises map[string]*done `json:"exercises"` // by "4.3"
}

// Done is what a learner did about one exercise.
type done struct {
	Started time.Time `json:"started,omitzero"`
	Checks  int       `json:"checks"` // how often it was checked
	Hints   int       `json:"hints"`  // how many were read
	Shown   bool      `json:"shown"`  // the solution was read or put in
	Passed  time.Time `json:"passed,omitzero"`
	Checked string    `json:"checked,omitempty"` // a hash of what was checked last
}

func readRecord(root string) (*record, error) {
	r := &record{Exercises: make(map[string]*done)}
	b, err := atomicfile.ReadOwn(filepath.Join(root, recordName), maxRecord)
	if errors.Is(err, os.ErrNotExist) {
		r.Learner = learner()
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, r)
	}
	if err == nil && (r.Exercises == nil || slices.Contains(slices.Collect(maps.Values(r.Exercises)), nil)) {
		err = errors.New("null stands in the place of an object")
	}
	if err != nil {
		return nil, fmt.Errorf("%s, which has your progress, can't be read: %w. Mend or remove it", recordName, err)
	}
	return r, nil
}

func (r *record) write(root string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(root, recordName), append(b, '\n'), atomicfile.Options{Mode: 0o644})
}

func (r *record) of(e *exercise) *done {
	d := r.Exercises[e.id()]
	if d == nil {
		d = new(done)
		r.Exercises[e.id()] = d
	}
	return d
}

// learner is the name that git knows, or the user's.
func learner() string {
	if out, err := exec.Command("git", "config", "user.name").Output(); err == nil && len(out) > 1 {
		return strings.TrimSpace(string(out))
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// fingerprint is a hash of what is in the exercise's place.
func (t *tree) fingerprint(s solution) (string, error) {
	h := sha256.New()
	for _, hole := range s {
		c, err := t.read(hole.file)
		if err != nil {
			return "", err
		}
		body, _, err := c.body(hole.name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d %s", len(body), body)
	}
	return fmt.Sprintf("%.8x", h.Sum(nil)), nil
}
