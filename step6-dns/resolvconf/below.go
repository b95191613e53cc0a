package resolvconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// resolvedList names the resolvers of all links; systemd-resolved keeps it.
const resolvedList = "/run/systemd/resolve/resolv.conf"

// Below returns whom this host asks for names if there is no tunnel: what stands
// in the file, or stood there before Use, or stands now in what it is a symlink
// to, where a DHCP client may have written something new. It is for the tunnel's
// own needs: to find its server while the tunnel is down.
//
// Of the Config only Path, State, and DNS matter: the tunnel's resolvers are left
// out. So are addresses of this host itself, as they ask somebody in turn: for
// those of systemd-resolved, the ones that it asks stand in their place. It only
// looks, and locks nothing.
func Below(c Config) ([]netip.Addr, error) {
	c.setDefaults()
	file, err := c.original()
	if err != nil {
		return nil, err
	}
	list := nameservers(file)
	if slices.ContainsFunc(list, netip.Addr.IsLoopback) {
		more, _ := lookInside(resolvedList, 0) // where it is not there, there are none
		list = append(list, nameservers(more.Data)...)
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsUnspecified() || slices.Contains(c.DNS, a)
	}), nil
}

// original returns the file as it would be without Use.
func (c *Config) original() ([]byte, error) {
	name, err := key(c.Path)
	if err != nil {
		return nil, err
	}
	j, err := load(c.State+"/"+name+".json", c.Path)
	if err != nil {
		return nil, err
	}
	if j != nil && j.File != nil {
		if now, err := look(c.Path); err == nil && j.File.wrote(now) {
			return j.File.Found.behind(c.Path)
		}
	}
	return read(c.Path)
}

// behind returns the bytes that were found at path, or that stand now in what it
// was a symlink to.
func (s snapshot) behind(path string) ([]byte, error) {
	if s.Kind != isSymlink {
		return s.Data, nil
	}
	target := s.Target
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return read(target)
}

// read returns the bytes of a file. No file has none.
func read(path string) ([]byte, error) {
	s, err := lookInside(path, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
	return s.Data, err
}

// nameservers lists those of a file, at most as many as programs use.
func nameservers(file []byte) []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(string(file)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, a.Unmap())
		}
	}
	return list
}
