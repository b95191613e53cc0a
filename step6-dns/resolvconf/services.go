package resolvconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// commandLimit bounds a command. The services answer at once, or not at all.
const commandLimit = 10 * time.Second

// run runs a command with that input.
func run(input string, command ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second // for children that keep the output open
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", commandLimit)
	}
	if err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("%s: %w: %.300s", strings.Join(command, " "), err, line)
	}
	return nil
}

// resolvedAnswers reports whether systemd-resolved runs on this host, and can
// be told what to do. It knows the host's links, by number; those of another
// network namespace it would mistake for its own.
func resolvedAnswers() bool {
	return hostNetwork() && run("", "resolvectl", "status") == nil
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
		if err := run("", command...); err != nil {
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
	if err := run("", "resolvectl", "revert", j.Device); err != nil {
		slog.Warn("systemd-resolved keeps the tunnel's settings until the device goes", "err", err)
	}
}

// hasOpenresolv reports whether the command resolvconf is openresolv's. Debian's
// has the same name, and so has a part of systemd that is no part of this.
func hasOpenresolv() bool {
	path, err := exec.LookPath("resolvconf")
	if err != nil {
		return false
	}
	if end, err := filepath.EvalSymlinks(path); err != nil || filepath.Base(end) == "resolvectl" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	return err == nil && bytes.HasPrefix(out, []byte("openresolv"))
}

// record is our name for the device there: the part behind the dot says who
// speaks of it.
func record(device string) string { return device + ".stepvpn" }

// openresolvAdd has openresolv name the tunnel's resolvers, and no others (-x).
func openresolvAdd(c Config) error {
	command := []string{"resolvconf", "-x", "-a", record(c.Device)}
	slog.Info(fmt.Sprintf("printf %q | %s", c.lines(), strings.Join(command, " ")))
	return run(c.lines(), command...)
}

// openresolvDelete takes that back; -f says that it may be gone. A boot removes
// it, but not from the file, which -u brings up to date.
func (j *journal) openresolvDelete() error {
	commands := [][]string{{"resolvconf", "-f", "-d", record(j.Device)}}
	if j.Boot != bootID() {
		commands = append(commands, []string{"resolvconf", "-u"})
	}
	for _, command := range commands {
		slog.Info(strings.Join(command, " "))
		if err := run("", command...); errors.Is(err, exec.ErrNotFound) {
			slog.Warn("openresolv is gone: see whether " + j.Path + " is as it should be")
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
