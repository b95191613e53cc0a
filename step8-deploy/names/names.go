// Package names has this host ask the tunnel's resolvers for names. It uses resolvconf for
// that, does so again when another program has changed it, and in the end puts back what
// would be there without this one. It takes the right to write in /etc, which a process of
// its own can have (see Serve). Introduced in step 8.
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

// A Keeper keeps them. Its methods may be called from any goroutine.
type Keeper interface {
	// Keep has programs ask the tunnel's resolvers, also if another program has changed
	// that: then it returns who that may be, and what keeps it from it, in a sentence, else
	// "". What that has written is what comes back in the end. After an error nothing is
	// taken; what can't be put back so far is in resolvconf's journal, for the next time.
	Keep(c resolvconf.Config) (by string, err error)

	// PutBack puts back what Keep, or a client that was killed, has changed. Of the Config
	// only State matters. It may be called if there is nothing to put back.
	PutBack(c resolvconf.Config) error
}

// Local does it in this process.
type Local struct {
	mu    sync.Mutex // guards all below
	asked resolvconf.Config
	undo  func() error // nil if nothing is taken
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

// maxDamages is how many files there are that may be damaged: a lock, a journal, and an
// original that has none.
const maxDamages = 3

// putBack does. What it can't put back now is in the journal, for the next time.
func (l *Local) putBack() error {
	undo := l.undo
	l.undo = nil
	return undo()
}

// maxFile bounds the file, in bytes.
const maxFile = 64 << 10

// changedBy tells who may have seen to it that programs ask somebody else, or "" if they
// ask the resolvers of a Config: by their own, or by way of systemd-resolved.
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

// all tells whether there are some, and each is so.
func all(list []netip.Addr, is func(netip.Addr) bool) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(a netip.Addr) bool { return !is(a) })
}

// tunnels tells of a resolver whether it is the tunnel's.
func tunnels(c resolvconf.Config) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(c.DNS, func(b netip.Addr) bool { return b.Unmap() == a })
	}
}

// maxServers is how many programs use (MAXNS of resolv.conf(5)).
const maxServers = 3

// servers lists those that a file like resolv.conf(5) names, as far as programs use them.
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

// resolvedBy tells whether systemd-resolved, if it runs, has forgotten whom to ask.
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
		return "systemd-resolved was told of other resolvers, or was started anew"
	}
	return ""
}

// notThere says what has become of a file that can't be read.
func notThere(path string, err error) string {
	if target, err := os.Readlink(path); err == nil {
		return fmt.Sprintf("a program has made it a symlink to %.100q", target)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "a program has removed it"
	}
	return fmt.Sprintf("a program has made it something that can't be read: %v", err)
}

// writer says who has written a file, and how to keep that program from it.
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
