// Package resolvconf makes this host ask the tunnel's resolvers for names, and
// puts things back as they were.
//
// Introduced in step 6.
//
// Programs read /etc/resolv.conf (resolv.conf(5)) to know which resolvers to ask. A file
// of ours takes its place, or the place of a symlink; the file that a symlink leads to stays
// untouched. The original is set aside as resolv.conf.before-stepvpn in the same
// directory, by an exchange of the two names (renameat2(2)). To put it back is one
// rename(2), which needs no room on the disk and brings back owner, mode, links and labels.
//
// A journal in Config.State says what was found and what is to be done. It is on the disk
// before anything changes. If this program is killed at any moment, or the power goes, a
// later run puts things back by it.
//
// Some other program may have the file in hand, such as systemd-resolved. Folder owner says
// what is done then.
//
//	resolvconf.go                Use and Recover: the order of it all
//	journal.go, readjournal.go   the journal is written, and read with distrust
//	filechange.go, exchange.go   our file takes the original's place, and gives it back
//	snapshot.go                  what was found: a file, a symlink, nothing
//	inplace.go                   a file that can't be replaced is overwritten
//	text.go, checkconfig.go      what our file says, and what it may say
//	refuse.go                    what can't be done is refused before anything changes
//	lock.go                      one client at a time
//	keepcopy.go                  a copy of the original, for a person to look at
//	original.go                  what the original says, which step 8 needs
//
// # What is not covered
//
// Use does not watch the file. A DHCP client, or NetworkManager, that writes
// it while the tunnel is up wins: programs then ask its resolvers. If those
// queries may not leave (see the client's block of port 53) names stop working;
// else they leak. What another program wrote is left alone at the
// end, and the original kept beside the journal.
//
// Programs that read the file only once at their start, and never again (before
// glibc 2.26, and some others), go on with the resolvers that it named then.
// Local caches in front (nscd, dnsmasq) keep what they know. The file's SELinux
// label is kept if there is one; a new one gets what the policy says.
package resolvconf

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf/owner"
)

const (
	// DefaultPath is the file that programs read.
	DefaultPath = "/etc/resolv.conf"
	// DefaultState survives a reboot, as the file does.
	DefaultState = "/var/lib/stepvpn"
)

// A Config says what to ask, and where that is written.
type Config struct {
	// Device is the tunnel's device, such as "vpn0". It must exist.
	Device string

	// DNS are the tunnel's resolvers, at least one. Programs use the first
	// three (MAXNS of resolv.conf(5)); the rest is ignored.
	DNS []netip.Addr

	// Search are the domains in which short names are looked up, at most 6,
	// of 256 bytes together (the limits of resolv.conf(5) before glibc 2.26).
	Search []string

	// Path is the file; DefaultPath if empty.
	Path string

	// State is the journal's directory; DefaultState if empty. It is made, if
	// need be, and must be ours alone.
	State string
}

// Use makes programs ask the tunnel's resolvers. The function that it returns
// takes that back; it may be called more than once, from any goroutine, and does it once. If
// Use fails, the host is as it was.
//
// If a client was killed, Use first puts back what that one left; Recover does only that.
// While one client uses the file, Use and Recover refuse: the state is locked from before
// anything is looked at until all is put back. The journal is on the disk before anything is
// changed.
//
//exercise:2
func Use(c Config) (undo func() error, err error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	s, err := openState(c, true) // true: make the journal's folder
	if err != nil {
		return nil, err
	}
	j, err := s.prepare(c)
	if err == nil {
		err = s.save(j)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	undo = sync.OnceValue(func() error {
		defer s.close()
		return s.putBack(j)
	})
	if err := j.takeOver(c); err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
}

// Recover puts back what a killed client left, and reports whether there was
// anything; the log says what. Of the Config only Path and State matter. A
// client that runs is not disturbed: Recover then returns an error.
func Recover(c Config) (found bool, err error) {
	c.setDefaults()
	s, err := openState(c, false)
	if s == nil || err != nil { // nil: no folder, so no client has ever run
		return false, err
	}
	defer s.close()
	return s.recover()
}

// prepare puts back what is left from before, looks at what there is, and says what is to be
// changed. It changes nothing else itself.
func (s *state) prepare(c Config) (*journal, error) {
	if _, err := s.recover(); err != nil {
		return nil, err
	}
	found, err := look(c.Path)
	if err != nil {
		return nil, err
	}
	if found.Kind == isOther {
		return nil, fmt.Errorf("%s is %v", c.Path, found)
	}
	who, err := owner.Find(c.Device, c.Path, found.Data)
	if err != nil {
		return nil, err
	}
	j := &journal{Version: version, Path: c.Path, Told: who.Told}
	if who.Way != owner.Leave {
		if j.File, err = plan(c, found, who.Way); err != nil {
			return nil, err
		}
	}
	slog.Info(fmt.Sprintf("%s is %s", c.Path, cmp.Or(who.Name, found.String())))
	return j, nil
}

// takeOver does what the journal says.
func (j *journal) takeOver(c Config) error {
	if j.File != nil {
		if err := j.File.takeOver(c.Path); err != nil {
			return fmt.Errorf("taking over %s: %w", c.Path, err)
		}
	}
	return j.Told.Use(owner.Tunnel{DNS: c.DNS, Search: c.Search, Lines: c.lines()})
}

// putBack undoes that, as far as it was done: what was told to others and the file, each even
// if the other fails. Then it forgets the journal. If it fails the journal stays, for the
// next time.
//
//exercise:2
func (s *state) putBack(j *journal) error {
	err := j.Told.Revert(j.Path)
	if j.File != nil {
		err = errors.Join(err, s.putBackFile(j.File))
	}
	if err != nil {
		return app.Hint(fmt.Errorf("%s is not as it was: %w", j.Path, err), "When that is mended: %s -recover", program())
	}
	return s.remove()
}

// putBackFile restores the file. If another program has changed it since, that stays, and
// the original is kept for a person to look at.
func (s *state) putBackFile(f *fileChange) error {
	left, err := f.putBack(s.path)
	switch {
	case err != nil:
		return err
	case left:
		return s.keepCopy(f.Found)
	}
	slog.Info(s.path + ": as it was")
	return nil
}
