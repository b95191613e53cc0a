package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stepvpn/shared/app"
)

// Edit changes the registry in a file. change gets the text as a Draft. If change returns
// nil and has changed the draft, the draft replaces the file atomically; otherwise the
// file stays as it is. Meanwhile other calls of Edit, by this program or another, wait. A
// program that is killed leaves either the old text or the new one.
//
// The file keeps its mode and owner. A new file gets mode 0600, as it may hold password
// hashes. A symbolic link stays one.
func Edit(path string, change func(*Draft) error) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	held, err := lock(path)
	if err != nil {
		return err
	}
	defer held.Close()

	text, old, err := readRegistry(path, path)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return err
	}
	if absent {
		if err := Kind.CheckFolders(path); err != nil {
			return err
		}
	}
	d := &Draft{file: path, absent: absent}
	if err := d.set(text); err != nil {
		return err
	}
	if err := change(d); err != nil {
		return err
	}
	if d.text == text {
		return nil
	}
	return replace(path, d.text, old)
}

// target returns the path without symbolic links.
func target(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s is a symbolic link to a file that does not exist", path)
		}
		return path, nil
	}
	return real, err
}

// A Draft is the text of a registry that is being edited. What an edit does not concern
// stays as it is, byte for byte. A Draft is not safe for concurrent use.
type Draft struct {
	*Registry // what the text says
	file      string
	absent    bool // there was no file
	text      string
}

// set makes text the draft, if it parses as a registry.
func (d *Draft) set(text string) error {
	r, err := Parse(d.file, text)
	if err != nil {
		return err
	}
	d.Registry, d.text = r, text
	return nil
}

// Find returns the client of this name. If there is none, the error's hint suggests a
// similar name.
func (d *Draft) Find(name string) (*Client, error) {
	if d.absent {
		return nil, NoRegistry(d.file)
	}
	return d.Registry.Find(name)
}

// NewText is the text of a registry without clients.
const NewText = `# Clients that may come in, one per line: NAME PUBLIC-KEY [OPTION...]
# Options: addr=ADDRESS[,ADDRESS...] expires=DATE password=HASH
# 'clients add' adds a line; edit them as you like, a # begins a comment.
`

// Create makes a registry without clients, of mode 0600. It never overwrites a
// file, and if it fails, it leaves none.
func Create(path string) error {
	err := create(path, NewText)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already, and is left as it is", path)
	}
	return err
}

// CheckNew returns an error unless the client can be added.
func (d *Draft) CheckNew(c *Client) error {
	if err := d.checkNewName(c.Name); err != nil {
		return err
	}
	if other, ok := d.ByKey(c.Key); ok {
		return fmt.Errorf("the public key is that of %s already (%s:%d): each client needs a key of its own", other.Name, d.file, other.Line)
	}
	for _, a := range c.Addrs {
		if other, ok := d.byAddr[a]; ok {
			return fmt.Errorf("the address %v is that of %s already (%s:%d)", a, other.Name, d.file, other.Line)
		}
	}
	return nil
}

func (d *Draft) checkNewName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if other, ok := d.ByName(name); ok {
		return app.Hint(fmt.Errorf("there is a client %s already (%s:%d)", name, d.file, other.Line),
			"Choose another name. To give %s a new key, type 'clients revoke %[1]s' first.", name)
	}
	return nil
}

// Add appends a line for a client.
func (d *Draft) Add(c *Client) error {
	if err := d.CheckNew(c); err != nil {
		return err
	}
	text := d.text
	switch {
	case d.absent && text == "":
		text = NewText
	case text != "" && !strings.HasSuffix(text, "\n"):
		text += "\n"
	}
	return d.set(text + c.text() + "\n")
}

// revoked begins the comment that a revoked client's line becomes. It goes on
// with the time (RFC 3339), a colon, and the line.
const revoked = "# revoked "

// Revoke turns a client's line into a comment, which says when this was done and whose
// key it is. To undo it, remove the beginning of the comment. Only the hash of a password
// is not kept.
func (d *Draft) Revoke(name string, now time.Time) error {
	if err := d.SetPassword(name, nil); err != nil {
		return err
	}
	return d.editLine(name, func(line string) string {
		return revoked + now.UTC().Format(time.RFC3339) + ": " + line
	})
}

// Revoked reports whether Revoke has left a comment for a client of this name, and
// returns the time in the last one.
func (d *Draft) Revoked(name string) (when string, ok bool) {
	for line := range strings.Lines(d.text) {
		if rest, is := strings.CutPrefix(line, revoked); is {
			at, rest, _ := strings.Cut(rest, ": ")
			if words := content(rest); len(words) > 0 && words[0].text == name {
				when, ok = at, true
			}
		}
	}
	return when, ok
}

// SetPassword sets the hash of a client's password, or with nil removes it.
func (d *Draft) SetPassword(name string, h *PasswordHash) error {
	value := ""
	if h != nil {
		value = h.String()
	}
	return d.setOption(name, "password=", value)
}

// SetExpiry sets the moment from which a client is refused, or with the zero time removes it.
func (d *Draft) SetExpiry(name string, at time.Time) error {
	value := ""
	if !at.IsZero() {
		value = at.UTC().Format(time.RFC3339)
	}
	return d.setOption(name, "expires=", value)
}

// Rename gives a client another name. It stays the same client, as it keeps its key.
func (d *Draft) Rename(name, to string) error {
	if _, err := d.Find(name); err != nil {
		return err
	}
	if err := d.checkNewName(to); err != nil && name != to {
		return err
	}
	return d.editLine(name, func(line string) string {
		first := content(line)[0]
		return line[:first.at] + to + line[first.end():]
	})
}

// setOption sets an option of a client's line, such as "password=", or with the value "" removes it.
func (d *Draft) setOption(name, option, value string) error {
	return d.editLine(name, func(line string) string {
		words := content(line)
		last := words[len(words)-1]
		for i, w := range words {
			if !strings.HasPrefix(w.text, option) {
				continue
			}
			if value == "" {
				return line[:words[i-1].end()] + line[w.end():]
			}
			return line[:w.at] + option + value + line[w.end():]
		}
		if value == "" {
			return line
		}
		return line[:last.end()] + " " + option + value + line[last.end():]
	})
}

// editLine replaces the line of a client.
func (d *Draft) editLine(name string, edit func(line string) string) error {
	c, err := d.Find(name)
	if err != nil {
		return err
	}
	lines := strings.Split(d.text, "\n")
	lines[c.Line-1] = edit(lines[c.Line-1])
	return d.set(strings.Join(lines, "\n"))
}
