// Package owner finds out which other program writes this host's /etc/resolv.conf, such
// as systemd-resolved, and has that program send queries into the tunnel. Introduced in
// step 6. By owner:
//
//	systemd-resolved, stub  the file stays: it sends programs to systemd-resolved,
//	                        which is told to send all names into the tunnel
//	systemd-resolved,       likewise, but a symlink to the stub takes its place: that
//	its list of resolvers   list is of all links, and a program that reads it asks the
//	                        first one, which may be the cafe's
//	openresolv              the file stays: its command can write it for us (-x)
//	resolvconf (Debian's)   replaced: its own command would leave the cafe's resolvers
//	                        in the list, as second choice
//	a bind mount            overwritten, as it can't be replaced
//	nobody                  replaced
//
// To add another owner, write a file that tells it and takes that back, and add a case to
// Find and a field to Told.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/command"
)

// resolvConf is the file that programs read.
const resolvConf = "/etc/resolv.conf"

// A Way is what becomes of the file.
type Way int

const (
	Replace   Way = iota // ours takes its place
	Link                 // a symlink to Stub takes its place
	Overwrite            // ours is written into it
	Leave                // it stays as it is
)

// An Owner is the program that has the file in hand, and what to do about it.
type Owner struct {
	Name string // for a sentence, such as "openresolv's"; "" for nobody
	Way  Way
	Told Told // the programs that are to be told; so far none of them was
}

// Told says which programs are told of the tunnel, so that a later run can take that
// back. It is part of the journal.
type Told struct {
	Boot   string `json:"boot"`   // random, new with each boot
	Device string `json:"device"` // and its index: a later device of the same name has another
	Index  int    `json:"index"`

	Resolved   bool `json:"resolved,omitempty"`
	Openresolv bool `json:"openresolv,omitempty"`
}

// A Tunnel is what they are told.
type Tunnel struct {
	DNS    []netip.Addr
	Search []string
	Lines  string // both, in the form of resolv.conf(5)
}

// Find returns who has the file at path in hand. The text is the file's; a symlink has
// none. Wherever systemd-resolved runs it is told, whether or not the file leads to it:
// programs reach it by other ways too (nss-resolve, its bus). Where it does not answer, its
// files are like any other.
func Find(device, path string, text []byte) (o Owner, err error) {
	itf, err := net.InterfaceByName(device)
	if err != nil {
		return o, fmt.Errorf("tunnel device %q: %w", device, err)
	}
	mounted, err := isMount(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	resolved := resolvedAnswers()
	o.Told = Told{Boot: bootID(), Device: device, Index: itf.Index, Resolved: resolved}
	switch {
	case resolved && isLink(path, uplink): // first, for without a stub that file is a link to it
		o.Name, o.Way = "systemd-resolved's (its list of resolvers)", toStub()
	case resolved && (isLink(path, stubs...) || onlyStub(text)):
		o.Name, o.Way = "systemd-resolved's (stub)", Leave
	case isLink(path, dynamic):
		o.Name = "resolvconf's"
	case mounted:
		o.Name, o.Way = "a bind mount, as in a container", Overwrite
	case isOpenresolv(path, text):
		o.Name, o.Way, o.Told.Openresolv = "openresolv's", Leave, true
	case resolved && leadsNowhere(path):
		o.Way = toStub()
	}
	if o.Way <= Link && hostsFile(path) {
		return o, app.Hint(fmt.Errorf("%s is the whole host's, but this network namespace is not", path),
			"Give the namespace a file of its own, /etc/netns/NAME/resolv.conf, and enter it with 'ip netns exec NAME'.")
	}
	return o, nil
}

// Use tells them of the tunnel. What it leaves when it fails, Revert takes back.
func (t Told) Use(tunnel Tunnel) error {
	if t.Openresolv {
		if err := t.openresolvAdd(tunnel); err != nil {
			return err
		}
	}
	if t.Resolved {
		return t.resolvedUse(tunnel)
	}
	return nil
}

// Revert takes that back, as far as it was done. The path is for messages.
func (t Told) Revert(path string) error {
	if t.Resolved {
		t.resolvedRevert()
	}
	if t.Openresolv {
		return t.openresolvDelete(path)
	}
	return nil
}

// isLink reports whether a path is a symlink that ends where one of the names does.
func isLink(path string, names ...string) bool {
	if _, err := os.Readlink(path); err != nil {
		return false
	}
	end, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for _, name := range names {
		if other, err := filepath.EvalSymlinks(name); err == nil && other == end {
			return true
		}
	}
	return false
}

// leadsNowhere reports whether there is no file, or a symlink to none.
func leadsNowhere(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// bootID is random, and new with each boot.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// run runs a command with that input, and returns what it writes. The services answer
// at once, or not at all.
func run(input string, words ...string) (string, error) {
	out, err := command.Run(input, words[0], words[1:]...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return out, nil
}
