package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// planFile says how the file is to be changed, and refuses what would fail.
func planFile(c Config, manager Manager, resolved bool) (*fileChange, error) {
	if manager.Kind != Mount && hostsFile(c.Path) {
		return nil, app.Hint(fmt.Errorf("%s is the whole host's, but this network namespace is not", c.Path),
			"Give the namespace a file of its own, /etc/netns/NAME/resolv.conf, and enter it with 'ip netns exec NAME'.")
	}
	found, err := look(c.Path)
	if err != nil {
		return nil, err
	}
	f := &fileChange{Found: found}
	switch now, err := lookInside(c.Path, 0); {
	case resolved && (manager.Kind == Uplink || errors.Is(err, fs.ErrNotExist)) && toStub():
		f.Stub = true
	case err == nil && now.Kind == isFile:
		f.Written = c.text(now.Data)
	default: // there is none, or the symlink leads to nothing that can be read
		f.Written = c.text(nil)
	}
	dir := filepath.Dir(c.Path)
	dirErr := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, 0)
	f.InPlace = manager.Kind == Mount || dirErr != nil && found.Kind == isFile
	switch {
	case f.InPlace:
		// No shorter than what was found, or the disk could take the rest
		// away, and there would be no way back.
		if missing := len(found.Data) - len(f.Written); missing > 0 {
			f.Written = append(f.Written, bytes.Repeat([]byte("\n"), missing)...)
		}
		err = unix.Faccessat(unix.AT_FDCWD, c.Path, unix.W_OK, 0)
		return f, refusal(c.Path, err)
	case dirErr != nil:
		return nil, refusal(dir, dirErr)
	case found.Kind == isFile && immutable(c.Path):
		return nil, refusal(c.Path, unix.EPERM)
	}
	switch left, err := look(c.Path + aside); {
	case err != nil:
		return nil, err
	case left.Kind != isAbsent:
		return nil, app.Hint(&Damaged{"", fmt.Errorf("%s exists: a client was killed, and its journal is gone", c.Path+aside)},
			"If it is the original, move it back: mv -T %s %s", c.Path+aside, c.Path)
	}
	return f, nil
}

// toStub reports whether programs can be sent to systemd-resolved's stub. That is
// better than a file of ours where there is none, or one of its own: a file that
// is not its own it reads itself, and if after that there is none again, or one
// of its own, it goes on to ask whom that named. A file that is somebody else's
// it reads again.
func toStub() bool {
	if stubListens() {
		return true
	}
	slog.Warn("systemd-resolved has no stub (DNSStubListener=no): in the end it may have to be told to forget the tunnel's resolvers, with 'systemctl restart systemd-resolved'")
	return false
}

// refusal says why a path cannot be changed, and what to do.
func refusal(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return app.Hint(fmt.Errorf("%s cannot be changed: it is on a read-only filesystem", path),
			"Mount a file of its own there that can be written to, or name the tunnel's resolvers there yourself.")
	case immutable(path):
		return app.Hint(fmt.Errorf("%s cannot be changed: it is immutable (chattr +i)", path),
			"Somebody wanted it to stay. To allow changes: chattr -i %s", path)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return app.Hint(fmt.Errorf("%s cannot be changed: permission denied", path), "Run it as root, for example with sudo.")
	}
	return fmt.Errorf("%s cannot be changed: %w", path, err)
}

// immutable reports whether the file may not be changed by anybody.
func immutable(path string) bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &stat)
	return err == nil && stat.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}

// hostNetwork reports whether this is the network namespace of process 1, as it
// is unless somebody arranged otherwise.
func hostNetwork() bool {
	// thread-self, for a thread may be in another namespace than its process.
	ours, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return true
	}
	first, err := os.Stat("/proc/1/ns/net")
	return err != nil || os.SameFile(ours, first)
}

// hostsFile reports whether path is the host's /etc/resolv.conf, seen from
// another network namespace. What is written there is for all programs of the
// host, which have no way into the tunnel.
func hostsFile(path string) bool {
	if path != DefaultPath || hostNetwork() {
		return false
	}
	ours, err := os.Stat("/etc")
	if err != nil {
		return false
	}
	hosts, err := os.Stat("/proc/1/root/etc")
	return err == nil && os.SameFile(ours, hosts)
}
