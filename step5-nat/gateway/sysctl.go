package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// This file reads and writes kernel settings, and knows which others the kernel overwrites along
// with one (changedAlong).

// readSetting returns the value of a setting of the kernel, as "sysctl" prints it. key is
// its path below /proc/sys. The value is "" if the kernel has no such setting, for
// example because an interface is gone.
func readSetting(key string) (string, error) {
	value, err := os.ReadFile(procSys + key)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(value)), err
}

// writeSetting changes the value of key.
func writeSetting(key, value string) error {
	err := os.WriteFile(procSys+key, []byte(value), 0)
	switch {
	case errors.Is(err, unix.EROFS):
		return app.Hint(err, "In a container, set it from outside: docker run --sysctl %s=%s", dotted(key), value)
	case errors.Is(err, fs.ErrPermission):
		return hostnet.NeedsRoot(err)
	}
	return err
}

const procSys = "/proc/sys/"

// Settings of the kernel, as paths below /proc/sys (ip-sysctl.rst of the
// kernel's documentation).
const (
	forward4   = "net/ipv4/ip_forward"
	forward6   = "net/ipv6/conf/all/forwarding"
	redirects4 = "net/ipv4/conf/all/accept_redirects"
)

// acceptRA returns the setting for whether an interface listens to router advertisements:
// 0 is no, 1 is yes unless the host forwards, 2 is yes.
func acceptRA(name string) string { return "net/ipv6/conf/" + name + "/accept_ra" }

// changedAlong returns the settings that the kernel overwrites when key is written:
// whether each interface forwards, and for IPv4 also whether redirects are accepted
// (inet_forward_change in the kernel's net/ipv4/devinet.c, addrconf_forward_change in
// net/ipv6/addrconf.c).
func changedAlong(key string) []string {
	switch key {
	case forward4:
		return append(glob("net/ipv4/conf/*/forwarding"), redirects4)
	case forward6:
		return glob("net/ipv6/conf/*/forwarding")
	}
	return nil
}

// glob lists the settings that match the pattern.
func glob(pattern string) []string {
	paths, _ := filepath.Glob(procSys + pattern)
	for i, p := range paths {
		paths[i] = strings.TrimPrefix(p, procSys)
	}
	return paths
}

// dotted returns the name of key as sysctl(8) expects it.
func dotted(key string) string {
	// An interface name may contain dots, which sysctl expects as slashes.
	return strings.NewReplacer("/", ".", ".", "/").Replace(key)
}

// typed returns the command that sets key.
func typed(key, value string) string { return fmt.Sprintf("sysctl -w %s=%s", dotted(key), value) }
