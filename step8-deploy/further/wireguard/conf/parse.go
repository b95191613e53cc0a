package conf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/packet"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
)

// This file reads the text of a file. It takes what wg(8) and wg-quick(8) take: names in any
// case, comments, lists on one line or several, and addresses without a prefix length. It is
// stricter where they let a mistake pass, such as a key that is given twice.

// maxErrors is how many mistakes of a file are reported.
const maxErrors = 20

// Parse reads the text of a file. name is the file's name, for errors. An error has a line for
// each mistake, with the file and the line, and says what to do about it. It repeats no key.
func Parse(name string, text []byte) (*File, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s is longer than %d bytes, which no WireGuard file needs", name, MaxSize)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, app.Hint(fmt.Errorf("%s is text in UTF-16", name), "Save it as UTF-8: editors on Windows offer that as 'encoding'.")
	}
	p := &parser{name: name, file: new(File), routes: make(map[netip.Prefix]int), peers: make(map[noise.PublicKey]int)}
	n := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		n++
		p.line(n, line)
	}
	p.end()
	if len(p.errs) > maxErrors {
		p.errs = append(p.errs[:maxErrors], fmt.Errorf("and %d more", len(p.errs)-maxErrors))
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.file, nil
}

// A parser is on its way through a text.
type parser struct {
	name string
	file *File
	errs []error

	keys    []key          // those of the section that it is in; nil before the first one
	section string         // its name
	began   int            // on this line
	seen    map[string]int // the section's keys, in lower case, with the line that has each
	unusual bool           // there was a section of another name, whose lines are skipped

	n      int                     // the line
	routes map[netip.Prefix]int    // the AllowedIPs of all peers, with the line that has each
	peers  map[noise.PublicKey]int // the peers, with the line that has each
	had    bool                    // there was a section Interface
}

// A key is one that a section may have.
type key struct {
	name string
	list bool // may be given more than once
	set  func(p *parser, value string) error
}

// fail notes a mistake on a line; 0 stands for the file as a whole.
func (p *parser) fail(n int, err error) {
	at := p.name
	if n > 0 {
		at = fmt.Sprintf("%s:%d", p.name, n)
	}
	p.errs = append(p.errs, fmt.Errorf("%s: %w", at, err))
}

// line reads line n.
func (p *parser) line(n int, text string) {
	p.n = n
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	if text[0] == '[' {
		p.begin(text)
		return
	}
	name, value, is := strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case p.unusual:
	case p.keys == nil:
		p.fail(n, errors.New("a line stands before the first section: write [Interface] above it"))
	case !is:
		p.fail(n, errors.New("this is no line of the form KEY = VALUE"))
	default:
		if err := p.set(name, value); err != nil {
			p.fail(n, err)
		}
	}
}

// begin begins a section.
func (p *parser) begin(head string) {
	p.endSection()
	p.seen, p.began, p.unusual, p.keys = make(map[string]int), p.n, false, nil
	switch strings.ToLower(head) {
	case "[interface]":
		p.section, p.keys = "Interface", interfaceKeys
		if p.had {
			p.fail(p.n, errors.New("this is the second [Interface]: join the two"))
		}
		p.had = true
	case "[peer]":
		p.section, p.keys = "Peer", peerKeys
		p.file.Peers = append(p.file.Peers, Peer{})
		if len(p.file.Peers) == MaxPeers+1 {
			p.fail(p.n, fmt.Errorf("there are more than %d peers: leave some out", MaxPeers))
		}
	default:
		p.unusual = true
		p.fail(p.n, fmt.Errorf("%s is no section: there are [Interface] and [Peer]", quote(head)))
	}
}

// set sets a key of the section.
func (p *parser) set(name, value string) error {
	lower := strings.ToLower(name)
	i := slices.IndexFunc(p.keys, func(k key) bool { return strings.EqualFold(k.name, name) })
	if i < 0 {
		return p.unknown(lower, name, value)
	}
	k := p.keys[i]
	if before, is := p.seen[lower]; is && !k.list {
		return fmt.Errorf("%s is given twice, here and on line %d: leave one of them", k.name, before)
	}
	p.seen[lower] = p.n
	if err := k.set(p, value); err != nil {
		return fmt.Errorf("%s %w", k.name, err)
	}
	return nil
}

// unknown returns what is wrong with a key that the section does not have; nil if its value asks
// for nothing.
func (p *parser) unknown(lower, name, value string) error {
	if r, is := refusedKeys[lower]; is {
		if slices.Contains(r.harmless, strings.ToLower(value)) {
			return nil
		}
		return fmt.Errorf("%s %s", name, r.why)
	}
	for _, s := range []struct {
		name string
		keys []key
	}{{"Interface", interfaceKeys}, {"Peer", peerKeys}} {
		var names []string
		for _, k := range s.keys {
			if strings.EqualFold(k.name, name) {
				return fmt.Errorf("%s does not belong to [%s], but to [%s]", k.name, p.section, s.name)
			}
			names = append(names, strings.ToLower(k.name))
		}
		if near := app.Closest(lower, names); near != "" && s.name == p.section {
			return fmt.Errorf("%s is not a key: is %s meant?", quote(name), s.keys[slices.Index(names, near)].name)
		}
	}
	return fmt.Errorf("%s is not a key that this program knows: remove the line if you can do without what it asks for", quote(name))
}

// endSection checks what the section has.
func (p *parser) endSection() {
	required := func(key, why string) {
		if _, is := p.seen[strings.ToLower(key)]; !is {
			p.fail(p.began, fmt.Errorf("[%s] has no %s: %s", p.section, key, why))
		}
	}
	switch {
	case p.keys == nil: // none, or an unusual one
	case p.section == "Interface":
		required("PrivateKey", "that is who this host is; whoever made the file knows it, or has only your public key")
		required("Address", "that is the address of this host in the tunnel; whoever made the file knows it")
	default:
		required("PublicKey", "that is who the peer is; whoever made the file knows it")
		required("AllowedIPs", "they say which packets go to this peer, such as 0.0.0.0/0, ::/0 for all")
		required("Endpoint", "this program does not wait for peers to call; add HOST:PORT")
	}
}

// end checks the file as a whole.
func (p *parser) end() {
	p.endSection()
	if !p.had {
		p.fail(0, errors.New("it has no section [Interface], and so is no WireGuard file"))
	}
	if len(p.file.Peers) == 0 {
		p.fail(0, errors.New("it has no section [Peer]: add that of the server"))
	}
	own := p.file.PrivateKey
	if line, is := p.peers[own.Public()]; is && own != (noise.PrivateKey{}) {
		p.fail(line, errors.New("PublicKey is that of this host's own PrivateKey: write the server's"))
	}
	if mtu := p.file.MTU; mtu != 0 && mtu < packet.MinIPv6MTU && slices.ContainsFunc(p.file.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		p.fail(0, fmt.Errorf("MTU is %d, but there is an IPv6 address: write at least %d", mtu, packet.MinIPv6MTU))
	}
}

// peer returns the peer whose section it is.
func (p *parser) peer() *Peer { return &p.file.Peers[len(p.file.Peers)-1] }

var interfaceKeys = []key{
	{"PrivateKey", false, func(p *parser, v string) (err error) {
		p.file.PrivateKey, err = readKey[noise.PrivateKey](v)
		return err
	}},
	{"Address", true, (*parser).setAddress},
	{"DNS", true, (*parser).setDNS},
	{"MTU", false, func(p *parser, v string) (err error) { p.file.MTU, err = number(v, 576, 65535, "bytes"); return err }},
	{"ListenPort", false, func(p *parser, v string) error {
		n, err := number(v, 0, 65535, "")
		p.file.ListenPort = uint16(n)
		return err
	}},
}

var peerKeys = []key{
	{"PublicKey", false, (*parser).setPublicKey},
	{"PresharedKey", false, (*parser).setPresharedKey},
	{"Endpoint", false, func(p *parser, v string) (err error) { p.peer().Endpoint, err = ReadEndpoint(v); return err }},
	{"AllowedIPs", true, (*parser).setAllowedIPs},
	{"PersistentKeepalive", false, func(p *parser, v string) error {
		if strings.EqualFold(v, "off") {
			return nil
		}
		n, err := number(v, 0, 65535, `seconds, or "off"`)
		p.peer().Keepalive = time.Duration(n) * time.Second
		return err
	}},
}

// minBits is the length of the shortest prefix of an address, as in a server's settings.
const minBits = 8

func (p *parser) setAddress(value string) error {
	all := words(value)
	if len(all) == 0 {
		return errors.New("has no value")
	}
	for _, word := range all {
		prefix, err := readPrefix(word)
		switch a := prefix.Addr(); {
		case err != nil:
		case !a.IsGlobalUnicast():
			err = errors.New("can't be the address of a host in a tunnel")
		case prefix.Bits() < minBits:
			err = errors.New("has a prefix length that is for more than a subnet: write /32, or /128 for IPv6")
		}
		if err != nil {
			return fmt.Errorf("has %s, which %w", quote(word), err)
		}
		p.file.Addresses = appendNew(p.file.Addresses, prefix)
	}
	if len(p.file.Addresses) > MaxAddresses {
		return fmt.Errorf("has more than %d values: leave some out", MaxAddresses)
	}
	return nil
}

// setDNS reads resolvers and search domains, which share a key: what does not look like an
// address is a domain.
func (p *parser) setDNS(value string) error {
	f := p.file
	for _, word := range words(value) {
		if strings.Contains(word, ":") || strings.Trim(word, "0123456789.") == "" {
			a, err := netip.ParseAddr(word)
			if err != nil || !isResolver(a) {
				return fmt.Errorf("has %s, which can't be the address of a resolver", quote(word))
			}
			f.DNS = appendNew(f.DNS, a)
			continue
		}
		domain := strings.TrimSuffix(strings.ToLower(word), ".")
		if push.CheckDomain(domain) != nil {
			return fmt.Errorf("has %s, which is neither an address nor a domain", quote(word))
		}
		f.Search = appendNew(f.Search, domain)
	}
	switch {
	case len(f.DNS) > MaxDNS:
		return fmt.Errorf("has more than %d resolvers: leave some out", MaxDNS)
	case len(f.Search) > MaxSearch:
		return fmt.Errorf("has more than %d search domains: leave some out", MaxSearch)
	}
	return nil
}

func (p *parser) setPublicKey(value string) error {
	key, err := readKey[noise.PublicKey](value)
	if err != nil {
		return err
	}
	if before, is := p.peers[key]; is {
		return fmt.Errorf("is that of the peer on line %d, too: join the two", before)
	}
	p.peers[key], p.peer().PublicKey = p.n, key
	return nil
}

// setPresharedKey reads a pre-shared key. In the protocol, zeros stand for none.
func (p *parser) setPresharedKey(value string) error {
	key, err := noise.ParseKey[[noise.KeyLen]byte](value)
	if err != nil {
		return errKey
	}
	if key != ([noise.KeyLen]byte{}) {
		p.peer().PresharedKey = &key
	}
	return nil
}

func (p *parser) setAllowedIPs(value string) error {
	for _, word := range words(value) {
		prefix, err := readPrefix(word)
		if err != nil {
			return fmt.Errorf("has %s, which %w", quote(word), err)
		}
		prefix = prefix.Masked()
		if slices.Contains(p.peer().AllowedIPs, prefix) {
			continue
		}
		if before, is := p.routes[prefix]; is {
			return fmt.Errorf("has %v, which the peer on line %d has, too: a packet can go to one of them only", prefix, before)
		}
		if len(p.routes) == MaxAllowedIPs {
			return fmt.Errorf("are more than %d networks: join neighbouring ones", MaxAllowedIPs)
		}
		p.routes[prefix] = p.n
		p.peer().AllowedIPs = append(p.peer().AllowedIPs, prefix)
	}
	if len(p.peer().AllowedIPs) == 0 {
		return errors.New("are none: write which packets go to this peer, such as 0.0.0.0/0, ::/0 for all")
	}
	return nil
}

// words returns the elements of a list: between them are commas, white space, or both.
func words(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// appendNew appends one element, unless it is there.
func appendNew[T comparable](to []T, one T) []T {
	if slices.Contains(to, one) {
		return to
	}
	return append(to, one)
}

// number reads a whole number. unit follows it in an error.
func number(value string, low, high int, unit string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || int(n) < low || int(n) > high {
		return 0, fmt.Errorf("is %s: write %s", quote(value), strings.TrimSpace(fmt.Sprintf("%d to %d %s", low, high, unit)))
	}
	return int(n), nil
}

// errKey does not repeat the value, which may be a secret.
var errKey = errors.New("is not a key, which has 44 characters of base64: copy all of it")

// readKey reads a key. Zeros are an error: such a key was never set.
func readKey[K ~[noise.KeyLen]byte](value string) (K, error) {
	k, err := noise.ParseKey[K](value)
	switch {
	case err != nil:
		return k, errKey
	case k == K{}:
		return k, errors.New("is all zero, which is not a key: copy the right one")
	}
	return k, nil
}

// readPrefix reads an address with a prefix length, or without one, which stands for the address
// alone.
func readPrefix(word string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(word)
	if a, e := netip.ParseAddr(word); e == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil:
		return p, errors.New("is not an address, such as 10.8.0.2, or a network, such as 10.0.0.0/8")
	case p.Addr().Is4In6():
		return p, errors.New("is an IPv4 address in the form of IPv6: write it in that of IPv4")
	}
	return p, nil
}

// ReadEndpoint reads HOST:PORT, and returns it in its usual form. An error continues a sentence, such as
// "Endpoint".
func ReadEndpoint(value string) (string, error) {
	const want = "write HOST:PORT, such as vpn.example.org:51820, 192.0.2.7:51820 or [2001:db8::7]:51820"
	if ap, err := netip.ParseAddrPort(value); err == nil {
		a := ap.Addr().Unmap()
		if ap.Port() == 0 || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return "", fmt.Errorf("is %s, where no server can be: %s", quote(value), want)
		}
		return netip.AddrPortFrom(a, ap.Port()).String(), nil
	}
	host, port, _ := strings.Cut(value, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if err != nil || n == 0 || push.CheckDomain(host) != nil || strings.Trim(host, "0123456789.") == "" {
		return "", fmt.Errorf("is %s: %s", quote(value), want)
	}
	return fmt.Sprintf("%s:%d", host, n), nil
}

// maxQuoted is how many bytes of a text an error repeats.
const maxQuoted = 60

// quote returns a text in quotes, as an error repeats it. What is as long as a key is hidden.
func quote(s string) string {
	if keyShaped.MatchString(s) {
		return "a text that may be a key"
	}
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "..."
	}
	return strconv.Quote(s)
}

// isResolver reports whether a resolver may have the address.
func isResolver(a netip.Addr) bool {
	_, err := push.Settings{DNS: []netip.Addr{a}}.Marshal()
	return err == nil
}
