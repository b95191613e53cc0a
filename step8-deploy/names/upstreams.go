package names

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"stepvpn/shared/atomicfile"
)

// On many hosts, resolv.conf names a resolver on the host itself, such as dnsmasq. Its own
// queries go into the tunnel like all others, or nowhere, so it can't resolve the server's
// name while the tunnel is down. So, for that name only, we ask the nameservers that it
// would ask. Its command line and its settings name them, if we can read those; a resolver
// that uses an encrypted protocol, or begins at the root, names none.

// Limits on what is read: settings may be anything, such as block lists of many MB.
const (
	maxSettings  = 256 << 10 // bytes of a file
	maxFiles     = 128
	maxProcesses = 1 << 16
	maxFound     = 8
)

// A finder collects the nameservers that resolvers on this host ask.
type finder struct {
	root  string // prepended to each path; "" except in tests
	found []netip.Addr
	seen  map[string]bool // files that were read, so that none is read twice
}

// upstreams returns the nameservers that the resolvers running on this host ask.
func upstreams(root string) []netip.Addr {
	f := &finder{root: root, seen: make(map[string]bool)}
	list, _ := os.ReadDir(root + "/proc")
	for _, p := range list[:min(len(list), maxProcesses)] {
		if args := f.resolver(root + "/proc/" + p.Name()); args != nil {
			f.settings(filepath.Base(args[0]), args)
		}
	}
	return f.found
}

// lastSystemUser is the highest number of a system user, and nobody that of the user nobody.
const (
	lastSystemUser = 999
	nobody         = 65534
)

// resolver returns the command line of a process if it may be a resolver of this host, or
// else nil. The process must be in the same network namespace, if that can be determined, and
// must not belong to a person, who can give a program any name.
func (f *finder) resolver(proc string) []string {
	info, err := os.Stat(proc)
	if err != nil || !info.IsDir() {
		return nil
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid > lastSystemUser && owner.Uid != nobody {
		return nil
	}
	line, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return nil
	}
	args := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	if !slices.Contains([]string{"dnsmasq", "pihole-FTL", "unbound", "dnscrypt-proxy"}, filepath.Base(args[0])) {
		return nil
	}
	theirs, err := os.Readlink(proc + "/ns/net")
	if ours, err2 := os.Readlink(f.root + "/proc/thread-self/ns/net"); err == nil && err2 == nil && theirs != ours {
		return nil
	}
	return args
}

// settings reads the settings of a resolver, which its command line names.
func (f *finder) settings(program string, args []string) {
	switch program {
	case "unbound":
		f.unbound(option(args, "-c", "/etc/unbound/unbound.conf"))
	case "dnscrypt-proxy":
		f.dnscrypt(option(args, "-config", "/etc/dnscrypt-proxy/dnscrypt-proxy.toml"))
	default:
		if f.commandLine(args) == 0 {
			f.dnsmasq("/etc/dnsmasq.conf")
		}
		if program == "pihole-FTL" {
			f.dnsmasq("/etc/pihole/dnsmasq.conf")
		}
	}
}

// option returns the argument that follows a flag.
func option(args []string, flag, otherwise string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return otherwise
}

// networkManagers is the bus name of the dnsmasq that NetworkManager starts. NetworkManager
// tells it over the bus which nameservers to ask; the file below lists them, too.
const (
	networkManagers    = "org.freedesktop.NetworkManager.dnsmasq"
	networkManagerList = "/run/NetworkManager/no-stub-resolv.conf"
)

// commandLine reads the command line of dnsmasq(8), and returns how many settings files it
// names.
func (f *finder) commandLine(args []string) (files int) {
	short := map[byte]string{'S': "server", 'r': "resolv-file", 'C': "conf-file", '7': "conf-dir"}
	for i := 1; i < len(args); i++ {
		if strings.HasSuffix(args[i], networkManagers) {
			f.nameservers(networkManagerList)
		}
		name, value, has := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		if !strings.HasPrefix(args[i], "--") {
			if len(args[i]) < 2 || args[i][0] != '-' || short[args[i][1]] == "" {
				continue
			}
			name, value = short[args[i][1]], args[i][2:]
			has = value != ""
		}
		if !slices.Contains([]string{"server", "resolv-file", "conf-file", "conf-dir"}, name) {
			continue
		}
		if !has && i+1 < len(args) {
			i++
			value = args[i]
		}
		if name == "conf-file" {
			files++
		}
		f.dnsmasqOption(name, value)
	}
	return files
}

// dnsmasq reads a settings file of dnsmasq(8).
func (f *finder) dnsmasq(path string) {
	for line := range strings.Lines(f.text(path)) {
		if name, value, ok := strings.Cut(line, "="); ok {
			f.dnsmasqOption(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
}

func (f *finder) dnsmasqOption(name, value string) {
	switch name {
	case "server": // /domain/address is for one domain, and not for ours
		address, _, _ := strings.Cut(value, "@")
		f.add(address, "#")
	case "resolv-file":
		f.nameservers(value)
	case "conf-file", "servers-file":
		f.dnsmasq(value)
	case "conf-dir":
		dir, filters, _ := strings.Cut(value, ",")
		for _, path := range f.glob(dir + "/*") {
			if chosen(path, filters) {
				f.dnsmasq(path)
			}
		}
	}
}

// chosen reports whether dnsmasq reads a file of a folder: the filter "*.conf" selects files
// whose names end in .conf, and ".conf" excludes them.
func chosen(path, filters string) bool {
	only, is := false, false
	for filter := range strings.SplitSeq(filters, ",") {
		end, wanted := strings.CutPrefix(filter, "*")
		switch {
		case filter == "":
		case wanted:
			only = true
			is = is || strings.HasSuffix(path, end)
		case strings.HasSuffix(path, filter):
			return false
		}
	}
	return (is || !only) && !strings.HasSuffix(path, "~")
}

// nameservers reads a file like resolv.conf(5).
func (f *finder) nameservers(path string) {
	for _, a := range servers([]byte(f.text(path))) {
		f.add(a.String(), "#")
	}
}

// unbound reads a settings file of unbound.conf(5), for the nameservers that unbound asks for
// all names.
func (f *finder) unbound(path string) {
	var zone string
	var list []string
	end := func() {
		if zone == "." {
			for _, a := range list {
				f.add(a, "@")
			}
		}
		zone, list = "", nil
	}
	for line := range strings.Lines(f.text(path)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line)+" ", " #") // but not the # of an address
		key, value, ok := strings.Cut(line, ":")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case !ok:
		case key == "include" || key == "include-toplevel":
			for _, path := range f.glob(value) {
				f.unbound(path)
			}
		case value == "": // a clause begins
			end()
		case key == "name":
			zone = value
		case key == "forward-addr":
			address, _, _ := strings.Cut(value, "#")
			list = append(list, address)
		}
	}
	end()
}

// bootstrap matches the nameservers that dnscrypt-proxy asks for its own servers' names.
var bootstrap = regexp.MustCompile(`(?m)^\s*(?:bootstrap|fallback)_resolvers\s*=\s*\[(.*)\]`)

// dnscrypt reads a settings file of dnscrypt-proxy.
func (f *finder) dnscrypt(path string) {
	for _, line := range bootstrap.FindAllStringSubmatch(f.text(path), -1) {
		for word := range strings.FieldsFuncSeq(line[1], func(r rune) bool { return strings.ContainsRune(`'", `, r) }) {
			if a, err := netip.ParseAddrPort(word); err == nil && a.Port() == dnsPort {
				f.add(a.Addr().String(), "#")
			}
		}
	}
}

// dnsPort is the only port for DNS queries in the underlay.
const dnsPort = 53

// add adds an address; a port that follows it must be that of DNS.
func (f *finder) add(address, separator string) {
	address, port, _ := strings.Cut(address, separator)
	a, err := netip.ParseAddr(address)
	if err != nil || port != "" && port != "53" || len(f.found) == maxFound || slices.Contains(f.found, a.Unmap()) {
		return
	}
	f.found = append(f.found, a.Unmap())
}

// text returns the text of a file that was not read before, or "" if it can't be read.
func (f *finder) text(path string) string {
	if !filepath.IsAbs(path) || f.seen[path] || len(f.seen) == maxFiles {
		return ""
	}
	f.seen[path] = true
	text, _, err := atomicfile.Read(f.root+path, maxSettings, atomicfile.Follow)
	if err != nil {
		return ""
	}
	return string(text)
}

// glob returns the paths that a pattern stands for, in their order.
func (f *finder) glob(pattern string) (list []string) {
	found, _ := filepath.Glob(f.root + pattern)
	for _, path := range found[:min(len(found), maxFiles)] {
		list = append(list, strings.TrimPrefix(path, f.root))
	}
	return list
}
