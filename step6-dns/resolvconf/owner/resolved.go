package owner

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// resolvedUse has the program systemd-resolved send all names to the tunnel's resolvers.
// A person would type:
//
//	resolvectl dns vpn0 10.8.0.1
//	resolvectl domain vpn0 '~.'
//	resolvectl default-route vpn0 yes
//	resolvectl dnsovertls vpn0 no
//
// "~." claims all names for this link. DNS over TLS goes off for it: the tunnel
// encrypts. These settings vanish with the link.
func (t Told) resolvedUse(tunnel Tunnel) error {
	dns := []string{"dns", t.Device}
	for _, a := range tunnel.DNS {
		dns = append(dns, a.String())
	}
	domain := append([]string{"domain", t.Device}, tunnel.Search...)
	for _, args := range [][]string{
		dns,
		append(domain, "~."),
		{"default-route", t.Device, "yes"},
		{"dnsovertls", t.Device, "no"},
	} {
		command := append([]string{"resolvectl"}, args...)
		slog.Info(strings.Replace(strings.Join(command, " "), "~.", "'~.'", 1))
		if _, err := run("", command...); err != nil {
			return err
		}
	}
	return nil
}

// resolvedRevert takes that back, unless it went with the link. It is
// no error if systemd-resolved is gone, and its settings with it.
func (t Told) resolvedRevert() {
	itf, err := net.InterfaceByIndex(t.Index)
	if err != nil || itf.Name != t.Device || t.Boot != bootID() || !hostNetwork() {
		return
	}
	slog.Info("resolvectl revert " + t.Device)
	if _, err := run("", "resolvectl", "revert", t.Device); err != nil {
		slog.Warn("systemd-resolved keeps the tunnel's settings until the device goes", "err", err)
	}
}

// resolvedAnswers reports whether systemd-resolved runs on this host, and can
// be told what to do. It knows the host's links, by number; those of another
// network namespace it would mistake for its own.
func resolvedAnswers() bool {
	if !hostNetwork() {
		return false
	}
	_, err := run("", "resolvectl", "status")
	return err == nil
}

// Stub is the file that sends programs to systemd-resolved.
const Stub = "/run/systemd/resolve/stub-resolv.conf"

var (
	stubs  = []string{Stub, "/usr/lib/systemd/resolv.conf", "/lib/systemd/resolv.conf"} // all say the same
	uplink = "/run/systemd/resolve/resolv.conf"                                         // lists the resolvers that it asks
)

// toStub returns the way in which programs can be sent to systemd-resolved. A symlink to
// its stub is better than a file of ours where there is none, or one of its own: it reads a
// file that is not its own, and if after that there is none again, or one of its own, it goes
// on to ask the resolvers that the file named. A file of some other program it reads again.
func toStub() Way {
	if stubListens() {
		return Link
	}
	slog.Warn("systemd-resolved has no stub (DNSStubListener=no): in the end it may have to be told to forget the tunnel's resolvers, with 'systemctl restart systemd-resolved'")
	return Replace
}

// stubListens reports whether systemd-resolved answers programs that read its
// stub file: its address is taken then.
func stubListens() bool {
	conn, err := net.ListenPacket("udp4", "127.0.0.53:53")
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, unix.EADDRINUSE)
}

// IsStub reports whether a resolver is systemd-resolved. Step 8 asks: any other resolver on
// this host may send its queries anywhere.
func IsStub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

// onlyStub reports whether a file names systemd-resolved's own addresses, and
// no other.
func onlyStub(file []byte) bool {
	stub := false
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, _ := netip.ParseAddr(fields[1]); !IsStub(a) {
			return false
		}
		stub = true
	}
	return stub
}
