package resolvconf

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/push"
)

// check refuses a Config that cannot be written into the file, and brings the rest into one
// form. push.Parse has checked what a server handed out; this check is for the file, whoever
// calls Use: for what resolv.conf(5) has room for, and what a line or a command can hold.
func (c *Config) check() error {
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path {
		return fmt.Errorf("%q is not the whole path of a file", c.Path)
	}
	if !filepath.IsAbs(c.State) {
		return fmt.Errorf("%q is not the whole path of a directory", c.State)
	}
	if !isDevice(c.Device) {
		return fmt.Errorf("%q is not the name of a device", c.Device)
	}
	var servers []netip.Addr
	for _, a := range c.DNS {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == broadcast {
			return fmt.Errorf("%v cannot be a resolver inside the tunnel", a)
		}
		if a.Zone() != "" && a.Zone() != c.Device {
			return fmt.Errorf("resolver %v is not inside the tunnel %s", a, c.Device)
		}
		if !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	if len(servers) == 0 {
		return app.Hint(errors.New("the tunnel has no resolver"), "Give the server one to hand out.")
	}
	c.DNS = servers[:min(len(servers), maxServers)]
	return c.checkSearch()
}

func (c *Config) checkSearch() error {
	var search []string
	for _, name := range c.Search {
		name := strings.TrimSuffix(name, ".")
		if push.CheckDomain(name) != nil {
			return fmt.Errorf("search domain %.300q is not a domain", name)
		}
		if !slices.Contains(search, name) {
			search = append(search, name)
		}
	}
	if len(search) > maxSearch || len(strings.Join(search, " ")) > maxSearchBytes {
		return fmt.Errorf("too many search domains: there is room for %d, of %d bytes together", maxSearch, maxSearchBytes)
	}
	c.Search = search
	return nil
}

// Limits of resolv.conf(5).
const (
	maxServers     = 3
	maxSearch      = 6
	maxSearchBytes = 256
)

// word is what may stand in a line, or a command, without doubt.
var word = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func isDevice(name string) bool { return word.MatchString(name) && len(name) <= maxDevice }

// maxDevice is the kernel's limit (IFNAMSIZ, less the final zero).
const maxDevice = 15

func (c *Config) setDefaults() {
	if c.Path == "" {
		c.Path = DefaultPath
	}
	if c.State == "" {
		c.State = DefaultState
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
