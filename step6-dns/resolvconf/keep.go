package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Kept is what Use does, for as long as others may undo it: Mend does it again, and what
// another program wrote is what comes back in the end. Its methods are called by one
// goroutine at a time.
type Kept struct {
	c Config
	s *state
	j *journal // nil if nothing is taken, as it failed
}

// Keep is Use, but who calls it keeps it. What a killed client left that had the same
// Config goes on as it is, without a moment in which programs ask somebody else.
func Keep(c Config) (*Kept, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	s, err := openState(c, true)
	if err != nil {
		return nil, err
	}
	k := &Kept{c: c, s: s}
	if j, err := load(s.journal, c.Path); err == nil && j != nil && j.does(c) {
		k.j = j
		_, err = k.Mend()
		if err == nil && j.Resolved {
			err = resolvedUse(c)
		}
		if err == nil {
			return k, nil
		}
	}
	if err := k.take(); err != nil {
		s.close()
		return nil, err
	}
	return k, nil
}

// does tells whether a journal is about what a Config says.
func (j *journal) does(c Config) bool {
	return j.Boot == bootID() && j.Device == c.Device && (j.File == nil || j.File.Stub || bytes.Contains(j.File.Written, []byte(c.lines())))
}

// take does what Use does.
func (k *Kept) take() (err error) {
	if k.j, err = prepare(k.c, k.s); err != nil {
		return err
	}
	if err := k.j.takeOver(k.c); err != nil {
		err = errors.Join(err, k.s.putBack(k.j))
		k.j = nil
		return err
	}
	return nil
}

// PutBack takes it back.
func (k *Kept) PutBack() error {
	defer k.s.close()
	if k.j == nil {
		return nil
	}
	return k.s.putBack(k.j)
}

// Mend makes programs ask the tunnel's resolvers again if another program has changed
// that, and returns who that may be and what keeps it from it, in a sentence, or "". What
// it wrote is in the journal then.
func (k *Kept) Mend() (by string, err error) {
	if k.j == nil {
		return "", k.take()
	}
	now, err := look(k.c.Path)
	if err != nil {
		return "", err
	}
	holds := k.holds(now)
	switch {
	case !holds && k.j.File != nil:
		// What was found at first is of no use to anybody any more.
		by = writer(now)
		if !k.j.File.InPlace {
			step("rm -f %s", k.c.Path+aside)
			err = os.Remove(k.c.Path + aside)
		}
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = k.s.remove()
		}
		if err == nil {
			err = k.take()
		}
		return by, err
	case !holds:
		by = writer(now)
		return by, errors.Join(k.s.putBack(k.j), k.take())
	}
	return k.mendLink(now)
}

// mendLink has systemd-resolved, and the journal, know the device: it may be another one
// of the same name by now. What was found may have changed in its place, too.
func (k *Kept) mendLink(now snapshot) (by string, err error) {
	changed := false
	if f := k.j.File; f != nil && !f.InPlace && f.Found.Kind == isFile {
		if found, err := look(k.c.Path + aside); err == nil && found.Kind == isFile && !found.same(f.Found) {
			f.Found, changed = found, true // somebody went on writing to it
		}
	}
	itf, err := net.InterfaceByName(k.c.Device)
	if err != nil {
		return "", err
	}
	if k.j.Index != itf.Index {
		k.j.Index, changed = itf.Index, true
	}
	if changed {
		if err := k.s.save(k.j); err != nil {
			return "", err
		}
	}
	if k.j.Resolved {
		out, err := run("", "resolvectl", "dns", k.c.Device)
		if err != nil {
			return "", err
		}
		words := strings.Fields(out)
		for _, a := range k.c.DNS {
			if !slices.Contains(words, a.String()) {
				return "systemd-resolved was told of other resolvers, or was started anew", resolvedUse(k.c)
			}
		}
	}
	return "", nil
}

// holds tells whether the file is as it was made.
func (k *Kept) holds(now snapshot) bool {
	switch {
	case k.j.File != nil && k.j.File.Stub:
		return k.j.File.wrote(now)
	case k.j.File != nil: // what is half ours does not count
		return now.Kind == isFile && bytes.Equal(now.Data, k.j.File.Written)
	case k.j.Openresolv:
		return bytes.HasPrefix(now.Data, signature) && bytes.Contains(now.Data, fmt.Appendf(nil, "nameserver %v\n", k.c.DNS[0]))
	}
	m, err := detect(k.c.Path, true)
	return err == nil && m.Kind == Stub
}

// writer says who has written a file, and how to keep that program from it.
func writer(now snapshot) string {
	if now.Kind == isSymlink {
		return fmt.Sprintf("a program has made it a symlink to %q", now.Target)
	}
	if now.Kind == isAbsent {
		return "a program has removed it"
	}
	for _, w := range []struct{ sign, is string }{
		{"NetworkManager", "NetworkManager has written it; dns=none in /etc/NetworkManager/NetworkManager.conf keeps it from that"},
		{"dhcpcd", "dhcpcd has written it; 'nohook resolv.conf' in /etc/dhcpcd.conf keeps it from that"},
		{"resolvconf", "resolvconf has written it"},
		{"systemd", "a part of systemd has written it"},
	} {
		if bytes.Contains(now.Data, []byte(w.sign)) {
			return w.is
		}
	}
	return "a DHCP client, perhaps, has written it; supersede domain-name-servers in /etc/dhcp/dhclient.conf keeps dhclient from that"
}

// Folder returns where to look for changes by others, and the names there that count.
func (k *Kept) Folder() (folder string, names []string) {
	name := filepath.Base(k.c.Path)
	return filepath.Dir(k.c.Path), []string{name, name + aside}
}

// Config returns what is kept.
func (k *Kept) Config() Config { return k.c }
