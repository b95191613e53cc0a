package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// An Entry is a line of the audit log: who has asked for which change, and how that went.
type Entry struct {
	Time   time.Time `json:"time"`
	UID    int       `json:"uid"`
	User   string    `json:"user"` // the name of that user at the time
	PID    int       `json:"pid"`
	Do     string    `json:"do"` // the request: "add", "revoke"...
	Client string    `json:"client"`
	Detail string    `json:"detail,omitempty"` // of the request: the new name, the moment...
	Error  string    `json:"error,omitempty"`  // why it has failed; "": it has not
}

// Entries is the answer to GET /v1/audit.
type Entries struct {
	Entries []Entry `json:"entries"`
}

// The limits of an audit log.
const (
	maxAudit   = 1 << 20 // bytes of its file; then another one is begun, and one is kept
	maxShown   = 1000    // entries that GET /v1/audit returns, the latest
	maxText    = 200     // bytes of each text in an entry that comes from outside
	olderAudit = ".1"    // what the name of the older file ends with
)

// An Audit is an audit log: a file of JSON lines, which only root can read. Its methods are safe for
// concurrent use.
type Audit struct {
	name string
	mu   sync.Mutex // held while the file is written or read
	one  sync.Mutex // held while something is changed
}

// NewAudit returns the audit log in a file, which need not exist.
func NewAudit(name string) *Audit { return &Audit{name: name} }

// Add adds an entry, now, to the file and to the program's own log. A file that can't be written is
// logged as an error, and stops nothing: an operator whose disk is full may have to keep somebody out.
func (a *Audit) Add(e Entry) {
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	e.Client, e.Detail, e.Error = shown(e.Client), shown(e.Detail), shown(e.Error)
	level, how := slog.LevelInfo, "done"
	if e.Error != "" {
		level, how = slog.LevelWarn, e.Error
	}
	slog.Log(context.Background(), level, "a change of the clients was asked for", "do", e.Do, "client", e.Client, "detail", e.Detail, "uid", e.UID, "user", e.User, "result", how)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.write(e); err != nil {
		slog.Error("the audit log can't be written", "error", err)
	}
}

// shown returns a text as it is kept, without what could deceive its reader.
func shown(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return app.Printable(s)
}

func (a *Audit) write(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(a.name); err == nil && info.Size()+int64(len(line)) > maxAudit {
		if err := os.Rename(a.name, a.name+olderAudit); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(a.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// Route is GET /v1/audit: the latest entries, the latest last.
func (a *Audit) Route() Route {
	return Route{Pattern: "GET /audit", Do: func(*Request) (any, error) {
		entries, err := a.latest()
		if err != nil {
			return nil, err
		}
		return Entries{entries}, nil
	}}
}

func (a *Audit) latest() ([]Entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entries := []Entry{}
	for _, name := range []string{a.name + olderAudit, a.name} {
		text, err := readTail(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			var e Entry
			if json.Unmarshal(line, &e) == nil { // a crash may have cut one off
				entries = append(entries, e)
			}
		}
	}
	return entries[max(0, len(entries)-maxShown):], nil
}

// readTail reads at most the last maxAudit bytes of a file.
func readTail(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxAudit {
		f.Seek(-maxAudit, io.SeekEnd)
	}
	return io.ReadAll(io.LimitReader(f, maxAudit))
}

// Change returns a route that changes something about the client {name} in its path, and notes that in the log,
// whether it succeeds or not. One change is made at a time, so the log has their order. do returns the answer, and what the log calls the client and the details.
func (a *Audit) Change(pattern, verb string, changed func(Event), do func(*Request) (c Change, client, detail string, err error)) Route {
	return Route{Pattern: pattern, Do: func(r *Request) (any, error) {
		a.one.Lock()
		defer a.one.Unlock()
		c, client, detail, err := do(r)
		e := Entry{UID: r.By.UID, User: r.By.Name(), PID: r.By.PID, Do: verb, Client: client, Detail: detail}
		if err != nil {
			e.Error = err.Error()
		}
		a.Add(e)
		if err != nil {
			return nil, err
		}
		changed(Event{Event: verb, Client: shown(client), Detail: shown(detail), By: &Actor{UID: e.UID, Name: e.User}})
		return c, nil
	}}
}
