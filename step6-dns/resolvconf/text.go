package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/push"
)

// Limits of resolv.conf(5).
const (
	maxServers     = 3
	maxSearch      = 6
	maxSearchBytes = 256
)

// words is what may stand in a line, or a command, without doubt.
var words = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

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

// check refuses what cannot be written, and brings the rest into one form. The
// server hands out these settings, so they are hostile until here.
func (c *Config) check() error {
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path {
		return fmt.Errorf("%q is not the whole path of a file", c.Path)
	}
	if !filepath.IsAbs(c.State) {
		return fmt.Errorf("%q is not the whole path of a directory", c.State)
	}
	if !words.MatchString(c.Device) || len(c.Device) > maxDevice {
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

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

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

// Signature is how each file begins that this package has written.
const Signature = "# Written by the VPN client while it is connected"

// text is the file to write. The options are those of the file that was found,
// as far as they do not depend on the resolvers there.
func (c *Config) text(found []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s). The original comes back\n", Signature, c.Device)
	fmt.Fprintf(&b, "# when it ends; if it was killed, when it starts again, or with: %s -recover\n", program())
	b.WriteString(c.lines())
	if options := keptOptions(found); len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes()
}

// lines is what matters of it.
func (c *Config) lines() string {
	var b strings.Builder
	if len(c.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(c.Search, " "))
	}
	for _, a := range c.DNS {
		fmt.Fprintf(&b, "nameserver %v\n", a)
	}
	return b.String()
}

// keepable are the options that suit any resolver, with the largest value of
// those that take one. Not among them:
//
//   - trust-ad: the resolver that was trusted to verify is not ours
//   - use-vc: what was wrong with UDP there was the way to it
//   - ndots: it is about the search list, which is not kept either
//   - no-reload: programs would never see the original again
var keepable = map[string]int{
	"timeout": 30, "attempts": 5,
	"rotate": 0, "edns0": 0, "single-request": 0, "single-request-reopen": 0, "no-tld-query": 0, "no-aaaa": 0,
}

// keptOptions picks them out of a file, each once.
func keptOptions(file []byte) []string {
	var kept []string
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "options" {
			continue
		}
		for _, option := range fields[1:] {
			name, value, valued := strings.Cut(option, ":")
			largest, ok := keepable[name]
			if n, err := strconv.Atoi(value); valued && (err != nil || n < 0 || n > largest || largest == 0) {
				ok = false
			}
			if ok && valued == (largest > 0) && !slices.Contains(kept, option) {
				kept = append(kept, option)
			}
		}
	}
	return kept
}
