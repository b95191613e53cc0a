package uplink

import (
	"log/slog"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// This file finds out which settings of the kernel can be set here: in a container /proc/sys
// is read-only, and the server does without the others.

// writable leaves out the kernel's settings (sysctl) that have another value and can't be
// changed: in a container, /proc/sys is read-only, and settings come from outside.
func writable(sysctls map[string]string) map[string]string {
	kept := make(map[string]string)
	for key, value := range sysctls {
		now := setting(key)
		if now != value && unix.Access(filepath.Join(procSys, key), unix.W_OK) == unix.EROFS {
			slog.Warn("a useful setting of the kernel can't be changed from here: the server does without it",
				"setting", dotted(key), "is", now, "cure", "Set it from outside, as by docker run --sysctl "+dotted(key)+"="+value)
			continue
		}
		kept[key] = value
	}
	return kept
}
