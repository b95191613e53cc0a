package route

import (
	"os"
	"path/filepath"
	"strings"
)

// strictReversePath reports whether any interface drops packets unless an answer to them
// would be routed through the same interface. The kernel uses the higher of two settings,
// the interface's and that of "all": 0 is off, 1 strict, 2 loose
// (Documentation/networking/ip-sysctl.rst). "default" counts, too: interfaces that are
// made later start with it.
func strictReversePath() bool {
	const conf = "/proc/sys/net/ipv4/conf/"
	read := func(path string) string {
		value, _ := os.ReadFile(path) // an interface may vanish meanwhile
		return strings.TrimSpace(string(value))
	}
	all := read(conf + "all/rp_filter")
	paths, _ := filepath.Glob(conf + "*/rp_filter")
	for _, path := range paths {
		if max(all, read(path)) == "1" {
			return true
		}
	}
	return false
}
