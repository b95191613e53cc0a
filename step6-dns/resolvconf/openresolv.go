package resolvconf

import (
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
)

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
	out, err := run("", path, "--version")
	return err == nil && strings.HasPrefix(out, "openresolv")
}

// record is our name for the device there: the part behind the dot says who
// speaks of it.
func record(device string) string { return device + ".stepvpn" }

// openresolvAdd has openresolv name the tunnel's resolvers, and no others (-x).
func openresolvAdd(c Config) error {
	command := []string{"resolvconf", "-x", "-a", record(c.Device)}
	slog.Info(fmt.Sprintf("printf %q | %s", c.lines(), strings.Join(command, " ")))
	_, err := run(c.lines(), command...)
	return err
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
		if _, err := run("", command...); errors.Is(err, exec.ErrNotFound) {
			slog.Warn("openresolv is gone: see whether " + j.Path + " is as it should be")
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
