// Package resolvconf makes this host ask the tunnel's resolvers for names, and
// puts things back as they were.
//
// Introduced in step 6.
//
// Programs read /etc/resolv.conf (resolv.conf(5)) to know whom to ask, and many
// programs want to write it. So the first question is whose it is (see Manager):
//
//	a plain file, absent    our file takes its place
//	a symlink               likewise; what the symlink leads to stays untouched
//	a bind mount            written in place, as it can't be replaced; also a
//	                        file whose directory can't be written to
//	systemd-resolved, stub  the file stays: it sends programs to systemd-resolved,
//	                        which is told to send all names into the tunnel
//	systemd-resolved,       likewise, but a symlink to the stub takes its place:
//	its list of resolvers   that list is of all links, and who reads it asks the
//	                        first, which may be the cafe's
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
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
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
