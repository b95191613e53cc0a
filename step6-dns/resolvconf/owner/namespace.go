package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// This file tells apart the files that different namespaces have under one path, such as
// /etc/resolv.conf: the host's own, a container's, and that of a network namespace.

// Key returns a name for the file at path, for use in a file name; it differs for the files
// that namespaces have under that path. The host's own, and one that is mounted, have the
// same key after a reboot.
func Key(path string) (string, error) {
	var stat unix.Stat_t
	mounted, err := isMount(path)
	switch {
	case err == nil && mounted:
		err = unix.Lstat(path, &stat)
		return fmt.Sprintf("resolvconf-file-%d", stat.Ino), err
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case hostNetwork():
		return "resolvconf", nil
	}
	err = unix.Stat("/proc/thread-self/ns/net", &stat)
	return fmt.Sprintf("resolvconf-netns-%d", stat.Ino), err
}

// isMount reports whether something is mounted right there: a container's file, or a
// namespace's (ip-netns(8)). It takes Linux 5.8 to tell in all cases; before, only a mount
// from another filesystem shows.
func isMount(path string) (bool, error) {
	var file, dir unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &file); err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if file.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return file.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	if err := unix.Statx(unix.AT_FDCWD, filepath.Dir(path), 0, unix.STATX_BASIC_STATS, &dir); err != nil {
		return false, &os.PathError{Op: "statx", Path: filepath.Dir(path), Err: err}
	}
	return file.Dev_major != dir.Dev_major || file.Dev_minor != dir.Dev_minor, nil
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
	if path != resolvConf || hostNetwork() {
		return false
	}
	ours, err := os.Stat("/etc")
	if err != nil {
		return false
	}
	hosts, err := os.Stat("/proc/1/root/etc")
	return err == nil && os.SameFile(ours, hosts)
}
