// Package conf reads and writes the files that programs for the WireGuard protocol exchange:
// those of wg-quick(8), which phones, providers and routers hand out.
//
// Introduced in step 8, chapter wireguard.
//
// Such a file says who one host is in the tunnel (the section Interface), and who the others
// are (a section Peer for each). There is one such file for each client, and its settings are all
// that a client ever learns: unlike ours, the protocol has none of its own in the tunnel.
//
//	[Interface]
//	PrivateKey = 6Kf2BDvgpH9hSNkZ0zi8KYpyjaNwyFfT2Zcbqww2nFw=
//	Address = 10.8.0.2/32, fd00:8::2/128
//	DNS = 10.8.0.1
//
//	[Peer]
//	PublicKey = QHrlkPNb2wKcl0dEumL3dyFe+dB3gYNvtBBGHVPtQ0o=
//	AllowedIPs = 0.0.0.0/0, ::/0
//	Endpoint = vpn.example.org:5555
//	PersistentKeepalive = 25
//
// conf.go has the types and Text, parse.go the parser, and refused.go says what is done about
// keys that this program does not honour.
package conf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
)

// Limits on a File.
const (
	MaxSize       = 64 << 10       // bytes of its text
	MaxPeers      = 32             //
	MaxAddresses  = 8              // as many as the keeper gives to a device
	MaxAllowedIPs = 512            // of all peers together
	MaxDNS        = 16             // the system asks only the first push.MaxDNS of them
	MaxSearch     = push.MaxSearch //
)

// MTU is the size of the largest packet in the tunnel, in bytes, that fits into a frame of an
// Ethernet (1,500 bytes) whatever is around it: 40 bytes of IPv6, 8 of UDP, and 32 of the protocol.
const MTU = 1420

// A File is what a file says about one client of the WireGuard protocol.
type File struct {
	PrivateKey noise.PrivateKey
	Addresses  []netip.Prefix // of the host in the tunnel
	DNS        []netip.Addr   // resolvers to ask through the tunnel
	Search     []string       // domains to try for a name without dots, in lower case
	MTU        int            // bytes; 0: the file does not say
	ListenPort uint16         // UDP port to send from; 0: any
	Peers      []Peer         // at least one
}

// A Peer is another host that speaks the protocol: the server, as a rule.
type Peer struct {
	PublicKey    noise.PublicKey
	PresharedKey *[noise.KeyLen]byte // nil: none
	Endpoint     string              // HOST:PORT, where HOST is a name, or an address (with brackets if it has colons)
	AllowedIPs   []netip.Prefix      // masked; what is sent to it, and what it may send
	Keepalive    time.Duration       // whole seconds; 0: none
}

// kind says who may read and change such a file. Its keys may be others' in the first place,
// so only they can make new ones.
var kind = atomicfile.Kind{Name: "WireGuard file", Secret: true, Cure: "Otherwise have whoever made it make another, with new keys."}

// Load reads a file. It refuses one that users other than its owner may read, change or replace
// (see atomicfile.Kind).
func Load(name string) (*File, error) {
	text, info, err := atomicfile.Read(name, MaxSize, atomicfile.Follow)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, app.Hint(fmt.Errorf("there is no file %s", name), "The operator of the server makes it, for example with 'stepvpn clients add NAME -wireguard'.")
	case errors.Is(err, fs.ErrPermission):
		return nil, app.Hint(err, "The file belongs to another user. Run this as that user, or as root.")
	case err != nil:
		return nil, err
	}
	if err := kind.Check(name, info); err != nil {
		return nil, err
	}
	return Parse(name, text)
}

// Text returns the file in the form of wg-quick(8). It is as secret as the keys in it. If the private
// key is zero, its line is left out: the client has made the key, and adds it.
func (f *File) Text() []byte {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	lists := func(key string, values ...string) {
		if len(values) > 0 {
			line(key, strings.Join(values, ", "))
		}
	}
	b.WriteString("[Interface]\n")
	if f.PrivateKey != (noise.PrivateKey{}) {
		line("PrivateKey", noise.FormatKey(f.PrivateKey))
	}
	lists("Address", texts(f.Addresses)...)
	lists("DNS", append(texts(f.DNS), f.Search...)...)
	if f.MTU != 0 {
		line("MTU", fmt.Sprint(f.MTU))
	}
	if f.ListenPort != 0 {
		line("ListenPort", fmt.Sprint(f.ListenPort))
	}
	for _, p := range f.Peers {
		b.WriteString("\n[Peer]\n")
		line("PublicKey", noise.FormatKey(p.PublicKey))
		if p.PresharedKey != nil {
			line("PresharedKey", noise.FormatKey(*p.PresharedKey))
		}
		lists("AllowedIPs", texts(p.AllowedIPs)...)
		line("Endpoint", p.Endpoint)
		if p.Keepalive != 0 {
			line("PersistentKeepalive", fmt.Sprint(int(p.Keepalive/time.Second)))
		}
	}
	return []byte(b.String())
}

func texts[T fmt.Stringer](list []T) []string {
	var all []string
	for _, one := range list {
		all = append(all, one.String())
	}
	return all
}

// Networks returns the AllowedIPs of all peers in as few networks as possible, in the order of
// their addresses.
func (f *File) Networks() []netip.Prefix {
	var all, joined []netip.Prefix
	for _, p := range f.Peers {
		all = append(all, p.AllowedIPs...)
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for _, p := range all {
		if n := len(joined); n > 0 && joined[n-1].Overlaps(p) {
			continue // it is part of that one
		}
		for n := len(joined); n > 0 && p.Bits() > 0; n = len(joined) {
			both := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
			if joined[n-1].Bits() != p.Bits() || !both.Contains(joined[n-1].Addr()) {
				break // they are not the two halves of a network
			}
			joined, p = joined[:n-1], both
		}
		joined = append(joined, p)
	}
	return joined
}

// Everything reports whether all of IPv4 or all of IPv6 goes to the peers.
func (f *File) Everything() bool {
	return slices.ContainsFunc(f.Networks(), func(n netip.Prefix) bool { return n.Bits() == 0 })
}

// Format implements fmt.Formatter: the keys are not shown.
func (f File) Format(s fmt.State, _ rune) { s.Write([]byte("(WireGuard file)")) }
