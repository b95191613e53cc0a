package resolvconf

import (
	"errors"
	"log/slog"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

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

// resolvedUse has systemd-resolved send all names to the tunnel's resolvers.
func resolvedUse(c Config) error {
	dns := []string{"dns", c.Device}
	for _, a := range c.DNS {
		dns = append(dns, a.String())
	}
	domain := append([]string{"domain", c.Device}, c.Search...)
	for _, args := range [][]string{
		dns,
		append(domain, "~."),
		{"default-route", c.Device, "yes"},
		{"dnsovertls", c.Device, "no"},
	} {
		command := append([]string{"resolvectl"}, args...)
		slog.Info(strings.Replace(strings.Join(command, " "), "~.", "'~.'", 1))
		if _, err := run("", command...); err != nil {
			return err
		}
	}
	return nil
}

// resolvedRevert takes that back, unless the link has taken it along. It is
// no error if systemd-resolved is gone, and its settings with it.
func (j *journal) resolvedRevert() {
	itf, err := net.InterfaceByIndex(j.Index)
	if err != nil || itf.Name != j.Device || j.Boot != bootID() || !hostNetwork() {
		return
	}
	slog.Info("resolvectl revert " + j.Device)
	if _, err := run("", "resolvectl", "revert", j.Device); err != nil {
		slog.Warn("systemd-resolved keeps the tunnel's settings until the device goes", "err", err)
	}
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
