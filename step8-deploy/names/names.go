// Package names makes this host ask the tunnel's resolvers for names. It uses resolvconf for
// that, does so again when another program has changed the settings, and in the end puts back
// what would be there without it. It needs the right to write to /etc, which a process of its
// own can have (process.go). On a host whose own resolver would ask through the tunnel, it also
// finds out which nameservers to ask for the address of the tunnel's server (underlay.go,
// upstreams.go). Introduced in step 8.
package names

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"stepvpn/shared/atomicfile"
	"stepvpn/shared/command"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step6-dns/resolvconf/owner"
)

// A Keeper keeps the host's DNS settings. Its methods are safe for concurrent use.
type Keeper interface {
	// Keep makes programs ask the tunnel's resolvers. If another program has changed that
	// since the last call, it returns a sentence that says which program that may be, and how
	// to stop it; otherwise "". What that program has written is what PutBack restores. After
	// an error nothing is changed; what could not be put back yet is in resolvconf's journal,
	// for the next time.
	Keep(c resolvconf.Config) (by string, err error)

	// PutBack puts back what Keep, or a client that was killed, has changed. It uses only
	// the field State of the Config. It does nothing if there is nothing to put back.
	PutBack(c resolvconf.Config) error
}

// Local is a Keeper that does the work in this process.
type Local struct {
	mu    sync.Mutex // guards all below
	asked resolvconf.Config
	undo  func() error // nil if nothing is changed
}

func (l *Local) Keep(c resolvconf.Config) (by string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.undo != nil {
		if reflect.DeepEqual(l.asked, c) {
			if by = changedBy(c); by == "" {
				return "", nil
			}
		}
		if err := l.putBack(); err != nil {
			return by, err
		}
	}
	l.undo, err = resolvconf.Use(c)
	for tries := 0; tries < maxDamages && setAside(c, err); tries++ {
		l.undo, err = resolvconf.Use(c)
	}
	l.asked = c
	return by, err
}

func (l *Local) PutBack(c resolvconf.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.undo == nil {
		_, err := resolvconf.Recover(c)
		for tries := 0; tries < maxDamages && setAside(c, err); tries++ {
			_, err = resolvconf.Recover(c)
		}
		return err
	}
	return l.putBack()
}

// maxDamages is how many files can be damaged: the lock, the journal, and an original
// without a journal.
const maxDamages = 3

// putBack is PutBack under the lock. What it can't put back now stays in the journal, for the
// next time.
func (l *Local) putBack() error {
	undo := l.undo
	l.undo = nil
	return undo()
}

// maxFile is the largest size of resolv.conf, in bytes.
const maxFile = 64 << 10

// changedBy says which program may have made programs ask other resolvers. It returns "" if
// they ask the resolvers of the Config, either directly or by way of systemd-resolved.
func changedBy(c resolvconf.Config) string {
	path := cmp.Or(c.Path, resolvconf.DefaultPath)
	text, _, err := atomicfile.Read(path, maxFile, atomicfile.Follow)
	if err != nil {
		return notThere(path, err)
	}
	list := servers(text)
	stub := all(list, owner.IsStub)
	if !stub && !all(list, tunnels(c)) {
		return writer(text)
	}
	return resolvedBy(c, stub)
}

// all reports whether the list is not empty, and is holds for each of its addresses.
func all(list []netip.Addr, is func(netip.Addr) bool) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(a netip.Addr) bool { return !is(a) })
}

// tunnels returns a function that reports whether a resolver is the tunnel's.
func tunnels(c resolvconf.Config) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(c.DNS, func(b netip.Addr) bool { return b.Unmap() == a })
	}
}

// maxServers is how many nameservers programs use (MAXNS in resolv.conf(5)).
const maxServers = 3

// servers lists the nameservers in a file like resolv.conf(5), as far as programs use them.
func servers(file []byte) (list []netip.Addr) {
	for line := range strings.Lines(string(file)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, a.Unmap())
		}
	}
	return list
}

// resolvedBy says what has made systemd-resolved, if it runs, forget the tunnel's resolvers;
// "" if it has not.
func resolvedBy(c resolvconf.Config, needed bool) string {
	if _, err := os.Stat("/run/systemd/resolve"); err != nil && !needed {
		return ""
	}
	out, err := command.Run("", "resolvectl", "dns", c.Device)
	if err != nil {
		slog.Debug("systemd-resolved does not answer", "error", err)
		if needed {
			return "systemd-resolved has ended"
		}
		return ""
	}
	// "Link 7 (vpn0): 10.8.0.1 fd00::1"
	_, words, _ := strings.Cut(out, "):")
	var list []netip.Addr
	for _, word := range strings.Fields(words) {
		a, _ := netip.ParseAddr(word)
		list = append(list, a.Unmap())
	}
	if !all(list, tunnels(c)) {
		return "systemd-resolved was given other resolvers, or was restarted"
	}
	return ""
}

// notThere says what has happened to a file that can't be read.
func notThere(path string, err error) string {
	if target, err := os.Readlink(path); err == nil {
		return fmt.Sprintf("a program has made it a symlink to %.100q", target)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "a program has removed it"
	}
	return fmt.Sprintf("a program has replaced it with something that can't be read: %v", err)
}

// writer says which program has probably written a file, and how to stop it.
func writer(text []byte) string {
	for _, w := range []struct{ sign, is string }{
		{"NetworkManager", "NetworkManager has written it; dns=none in /etc/NetworkManager/NetworkManager.conf keeps it from that"},
		{"dhcpcd", "dhcpcd has written it; 'nohook resolv.conf' in /etc/dhcpcd.conf keeps it from that"},
		{"resolvconf", "resolvconf has written it"},
		{"systemd", "a part of systemd has written it"},
	} {
		if strings.Contains(string(text), w.sign) {
			return w.is
		}
	}
	return "a DHCP client, perhaps, has written it; supersede domain-name-servers in /etc/dhcp/dhclient.conf keeps dhclient from that"
}
