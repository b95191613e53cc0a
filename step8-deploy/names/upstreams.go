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

// A resolver on this host itself, as dnsmasq, is what resolv.conf names with many hosts.
// Its own questions go into the tunnel as all others, or nowhere, so it can't find the
// server's name while there is none. So we ask whom it would ask, for that name only.
// Whom it asks is in its command line and its settings, as far as we can read them; one
// that asks by an encrypted protocol, or that begins at the root, names nobody.

// Limits of what is read: settings may be anything, block lists of many MB among them.
const (
	maxSettings  = 256 << 10 // bytes of a file
	maxFiles     = 128
	maxProcesses = 1 << 16
	maxFound     = 8
)

// A finder collects whom resolvers on this host ask.
type finder struct {
	root  string // before each path; "" but in tests
	found []netip.Addr
	seen  map[string]bool // files, so that none is read twice
}

// upstreams returns whom the resolvers that run on this host ask.
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

// lastSystemUser is the last number of a user that is none of people's, and nobody that of
// the user for those who are to have no rights.
const (
	lastSystemUser = 999
	nobody         = 65534
)

// resolver returns the command line of a process that may be a resolver of this host, or
// nil: of the same network namespace, as far as that can be told, and not of one of its
// people, who can call their programs anything.
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

// settings reads those of a resolver, by its command line.
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

// networkManagers is the name on the bus of the dnsmasq that NetworkManager starts, and
// tells by the bus whom to ask; the list has them, too.
const (
	networkManagers    = "org.freedesktop.NetworkManager.dnsmasq"
	networkManagerList = "/run/NetworkManager/no-stub-resolv.conf"
)

// commandLine reads that of dnsmasq(8), and returns how many files of settings it names.
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

// dnsmasq reads a file of settings of dnsmasq(8).
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

// chosen tells whether dnsmasq reads a file of its folder: "*.conf" stands for those that
// end so, and ".conf" for the others.
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

// unbound reads a file of settings of unbound.conf(5): whom it asks for all names.
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

// bootstrap has those that dnscrypt-proxy asks for the names of the servers that it asks.
var bootstrap = regexp.MustCompile(`(?m)^\s*(?:bootstrap|fallback)_resolvers\s*=\s*\[(.*)\]`)

// dnscrypt reads a file of settings of dnscrypt-proxy.
func (f *finder) dnscrypt(path string) {
	for _, line := range bootstrap.FindAllStringSubmatch(f.text(path), -1) {
		for word := range strings.FieldsFuncSeq(line[1], func(r rune) bool { return strings.ContainsRune(`'", `, r) }) {
			if a, err := netip.ParseAddrPort(word); err == nil && a.Port() == dnsPort {
				f.add(a.Addr().String(), "#")
			}
		}
	}
}

// dnsPort is the only one at which names are asked for in the underlay.
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

// text returns what is in a file that was not read before; nothing if it can't be read.
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
