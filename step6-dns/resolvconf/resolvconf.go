// Package resolvconf makes this host ask the tunnel's resolvers for names, and
// puts things back as they were.
//
// Introduced in step 6.
//
// Programs read /etc/resolv.conf (resolv.conf(5)) to know whom to ask, and many
// programs want to write it. So the first question is whose it is (see Detect):
//
//	a plain file, absent    our file takes its place
//	a symlink               likewise; what the symlink leads to stays untouched
//	a bind mount            written in place, as it can't be replaced; also a
//	                        file whose directory can't be written to
//	systemd-resolved, stub  the file stays: it sends programs to systemd-resolved,
//	                        which is told to send all names into the tunnel
//	systemd-resolved,       both: that list names the resolvers of all links, and
//	its list of resolvers   who reads it asks the first, which may be the cafe's
//	resolvconf (Debian's)   a symlink: its own command would leave the cafe's
//	                        resolvers in the list, as second choice
//	openresolv              its command, which can do that (-x)
//
// Wherever systemd-resolved runs it is told, whosoever the file is: programs
// reach it by other ways too (nss-resolve, its bus). What a person would type:
//
//	resolvectl dns vpn0 10.8.0.1
//	resolvectl domain vpn0 '~.'
//	resolvectl default-route vpn0 yes
//	resolvectl dnsovertls vpn0 no
//
// "~." claims all names for this link. DNS over TLS goes off for it: the tunnel
// encrypts. These settings vanish with the link.
//
// The original file is set aside, by renameat2(2)'s exchange, as
// resolv.conf.before-stepvpn in the same directory: to put it back is one
// rename(2), which needs no room on the disk and brings back owner, mode, links
// and labels. A journal in Config.State has all that was found and is on the
// disk before anything changes. It is what a later run goes by if this one is
// killed, at any moment, or if the power goes.
//
// # What is not covered
//
// Nobody watches the file. A DHCP client, or NetworkManager, that writes
// it while the tunnel is up wins: programs then ask its resolvers. If those
// queries may not leave (see the client's block of port 53) names stop working;
// else they leak. Ours tells. What another program wrote is left alone at the
// end, and the original kept beside the journal.
//
// Programs that read the file only once at their start, and never again (before
// glibc 2.26, and some others), go on with the resolvers that it named then.
// Local caches in front (nscd, dnsmasq) keep what they know. The file's SELinux
// label is kept if there is one; a new one gets what the policy says.
package resolvconf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"stepvpn/shared/app"
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
// takes that back; it may be called more than once, from any goroutine. If Use
// fails, the host is as it was.
//
// What a client left that was killed is put back first, and so it is by Recover.
// While one client uses the file, Use and Recover refuse.
func Use(c Config) (undo func() error, err error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	s, err := openState(c, true)
	if err != nil {
		return nil, err
	}
	j, err := prepare(c, s)
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
	if s == nil || err != nil {
		return false, err
	}
	defer s.close()
	return s.recover()
}

// Ours reports whether the file is as Use wrote it: false if there is no
// client, or if another program has changed the file since. Where the client
// left the file as it was, for systemd-resolved or openresolv to do the work, it
// says no more than that there is a client, or was one that nobody cleaned up
// after. It only looks, and locks nothing.
func Ours(c Config) (bool, error) {
	c.setDefaults()
	name, err := key(c.Path)
	if err != nil {
		return false, err
	}
	j, err := load(c.State+"/"+name+".json", c.Path)
	if j == nil || err != nil {
		return false, err
	}
	if j.File == nil {
		return true, nil
	}
	now, err := look(c.Path)
	return err == nil && j.File.wrote(now), err
}

// prepare puts back what is left from before, looks at what there is, and
// writes down what is to be changed. It changes nothing else itself.
func prepare(c Config, s *state) (*journal, error) {
	if _, err := s.recover(); err != nil {
		return nil, err
	}
	itf, err := net.InterfaceByName(c.Device)
	if err != nil {
		return nil, fmt.Errorf("tunnel device %q: %w", c.Device, err)
	}
	resolved := resolvedAnswers()
	owner, err := detect(c.Path, resolved)
	if err != nil {
		return nil, err
	}
	j := &journal{Version: version, Path: c.Path, Boot: bootID(), Device: c.Device, Index: itf.Index, Resolved: resolved}
	switch owner.Kind {
	case Stub:
	case Openresolv:
		j.Openresolv = true
	default:
		if j.File, err = planFile(c, owner); err != nil {
			return nil, err
		}
	}
	slog.Info(fmt.Sprintf("%s is %v", c.Path, owner))
	return j, s.save(j)
}

// takeOver does what the journal says.
func (j *journal) takeOver(c Config) error {
	if j.File != nil {
		if err := j.File.takeOver(c.Path); err != nil {
			return fmt.Errorf("taking over %s: %w", c.Path, err)
		}
	}
	if j.Openresolv {
		if err := openresolvAdd(c); err != nil {
			return err
		}
	}
	if j.Resolved {
		return resolvedUse(c)
	}
	return nil
}

// putBack undoes that, as far as it was done, and forgets the journal. If it
// fails the journal stays, for the next time.
func (s *state) putBack(j *journal) error {
	var errs []error
	if j.Resolved {
		j.resolvedRevert()
	}
	if j.Openresolv {
		errs = append(errs, j.openresolvDelete())
	}
	if j.File != nil {
		errs = append(errs, s.putBackFile(j))
	}
	if err := errors.Join(errs...); err != nil {
		return app.Hint(fmt.Errorf("%s is not as it was: %w", j.Path, err), "When that is mended: %s -recover", program())
	}
	return s.remove()
}

// putBackFile restores the file, unless another program has changed it since.
func (s *state) putBackFile(j *journal) error {
	left, err := j.File.putBack(j.Path)
	switch {
	case err != nil:
		return err
	case !left:
		slog.Info(j.Path + ": as it was")
		return nil
	}
	kept, err := s.keep(j.File.Found)
	if err != nil {
		return err
	}
	slog.Warn(fmt.Sprintf("%s was changed by another program meanwhile: left alone. Before, %s", j.Path, kept))
	return nil
}

// recover puts back what the journal has, if there is one.
func (s *state) recover() (found bool, err error) {
	os.Remove(s.draft()) // of who was killed before the journal was whole, and so before anything changed
	j, err := load(s.journal, s.path)
	if err != nil {
		return false, app.Hint(fmt.Errorf("journal %s: %w", s.journal, err),
			"Nothing was changed. See whether %s is as it should be, and remove the journal.", s.path)
	}
	if j == nil {
		return false, nil
	}
	slog.Info("a client was killed: putting name resolution back as it was", "journal", s.journal)
	return true, s.putBack(j)
}

// program is what to type, for messages and the file's header.
func program() string {
	name := os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
	if !words.MatchString(name) {
		return "client"
	}
	return name
}

// step is called before each single change. The log can show them all; tests
// end the process at each.
func step(format string, args ...any) { slog.Debug(fmt.Sprintf(format, args...)) }
