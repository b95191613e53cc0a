package resolvconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf/owner"
)

// A journal says what was found and what is to be done, so that a later run can put it back,
// however much of that was done. It is a file, one for each resolv.conf.
type journal struct {
	Version    int         `json:"version"`
	Path       string      `json:"path"`
	owner.Told             // its fields stand among these
	File       *fileChange `json:"file,omitempty"` // nil if it was left as it was
}

// version is the journal's. One of another version is refused: nobody should
// guess how to put a host back.
const version = 1

// A state is the directory of journals, with ours locked.
type state struct {
	path    string // of the file that the journal is about
	dir     string // Config.State
	journal string // path of the journal
	lock    *atomicfile.Locked
}

// save writes the journal in one move, and returns when it is on the disk.
func (s *state) save(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if _, err := parseJournal(data); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := atomicfile.Write(s.journal, data, atomicfile.Options{Trace: step}); err != nil {
		os.Remove(s.journal)
		return fmt.Errorf("writing the journal, without which nothing is changed: %w", err)
	}
	return nil
}

// recover puts back what the journal has, if there is one.
func (s *state) recover() (found bool, err error) {
	// A draft is left if a client was killed before its journal was whole, and so before
	// anything changed.
	atomicfile.RemoveDraft(s.journal)
	j, err := load(s.journal, s.path)
	if err != nil {
		return false, app.Hint(fmt.Errorf("journal %s: %w", s.journal, &Damaged{s.journal, err}),
			"Nothing was changed. See whether %s is as it should be, and remove the journal.", s.path)
	}
	if j == nil {
		return false, nil
	}
	slog.Info("a client was killed: putting name resolution back as it was", "journal", s.journal)
	return true, s.putBack(j)
}

// remove forgets the journal.
func (s *state) remove() error {
	step("rm %s", s.journal)
	err := os.Remove(s.journal)
	if err == nil {
		err = syncDir(s.dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody was faster
	}
	return err
}
