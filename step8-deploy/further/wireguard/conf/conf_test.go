package conf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

// fill replaces KEY(x) by a key that depends on x, and PRIVATE and PSK by secrets.
func fill(text string) string {
	for _, name := range []string{"a", "b"} {
		text = strings.ReplaceAll(text, "KEY("+name+")", noise.FormatKey(public(name)))
	}
	return strings.NewReplacer("PRIVATE", noise.FormatKey(private), "PSK", noise.FormatKey(psk)).Replace(text)
}

func public(name string) noise.PublicKey { return noise.PrivateKey{1, name[0]}.Public() }

var (
	private = noise.PrivateKey{1, 2, 3}
	psk     = [noise.KeyLen]byte{4, 5, 6}
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// Files as those who hand them out make them, with other keys.
var provided = []struct {
	name, text string
	want       File
}{
	{"Mullvad", "[Interface]\n# Device: Quick Fox\nPrivateKey = PRIVATE\nAddress = 10.64.3.4/32,fc00:bbbb:bbbb:bb01::1:304/128\nDNS = 10.64.0.1\n\n" +
		"[Peer]\nPublicKey = KEY(a)\nAllowedIPs = 0.0.0.0/0,::0/0\nEndpoint = 192.0.2.66:51820\n",
		File{Addresses: prefixes("10.64.3.4/32", "fc00:bbbb:bbbb:bb01::1:304/128"), DNS: addrs("10.64.0.1"),
			Peers: []Peer{{PublicKey: public("a"), AllowedIPs: prefixes("0.0.0.0/0", "::/0"), Endpoint: "192.0.2.66:51820"}}}},
	{"Proton", "[Interface]\r\n# Bouncing = 1\r\n# NetShield = 1\r\n# Key for laptop\r\nPrivateKey = PRIVATE\r\nAddress = 10.2.0.2/32\r\nDNS = 10.2.0.1\r\n\r\n" +
		"[Peer]\r\n# CH#123\r\nPublicKey = KEY(a)\r\nAllowedIPs = 0.0.0.0/0\r\nEndpoint = 203.0.113.5:51820\r\nPersistentKeepalive = 25\r\n",
		File{Addresses: prefixes("10.2.0.2/32"), DNS: addrs("10.2.0.1"),
			Peers: []Peer{{PublicKey: public("a"), AllowedIPs: prefixes("0.0.0.0/0"), Endpoint: "203.0.113.5:51820", Keepalive: 25 * time.Second}}}},
	{"OPNsense", "[Interface]\nPrivateKey = PRIVATE\nAddress = 10.10.10.2/32\nAddress = fd10::2/128\nDNS = 10.10.10.1\nDNS = fd10::1\nMTU = 1412\n\n\n" +
		"[Peer]\nPublicKey = KEY(a)\nPresharedKey = PSK\nEndpoint = fw.example.org:51820\nAllowedIPs = 10.10.10.0/24\nAllowedIPs = fd10::/64, 192.168.1.0/24\n",
		File{Addresses: prefixes("10.10.10.2/32", "fd10::2/128"), DNS: addrs("10.10.10.1", "fd10::1"), MTU: 1412,
			Peers: []Peer{{PublicKey: public("a"), PresharedKey: &psk, AllowedIPs: prefixes("10.10.10.0/24", "fd10::/64", "192.168.1.0/24"), Endpoint: "fw.example.org:51820"}}}},
	{"wg-easy", "\n[Interface]\nPrivateKey = PRIVATE\nAddress = 10.8.0.2/24\nDNS = 1.1.1.1, 8.8.8.8\n\n\n" +
		"[Peer]\nPublicKey = KEY(a)\nPresharedKey = PSK\nAllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 0\nEndpoint = VPN.Example.org.:51820",
		File{Addresses: prefixes("10.8.0.2/24"), DNS: addrs("1.1.1.1", "8.8.8.8"),
			Peers: []Peer{{PublicKey: public("a"), PresharedKey: &psk, AllowedIPs: prefixes("0.0.0.0/0", "::/0"), Endpoint: "vpn.example.org:51820"}}}},
	{"a FRITZ!Box", "[Interface]\nPrivateKey = PRIVATE\nAddress = 192.168.178.203/24,fd11:2233::203/64\nDNS = 192.168.178.1,fd11:2233::1\nDNS = fritz.box\n\n" +
		"[Peer]\nPublicKey = KEY(a)\nPresharedKey = PSK\nAllowedIPs = 192.168.178.0/24,0.0.0.0/0,fd11:2233::/64,::/0\nEndpoint = abcdefgh.myfritz.net:55555\nPersistentKeepalive = 25",
		File{Addresses: prefixes("192.168.178.203/24", "fd11:2233::203/64"), DNS: addrs("192.168.178.1", "fd11:2233::1"), Search: []string{"fritz.box"},
			Peers: []Peer{{PublicKey: public("a"), PresharedKey: &psk, AllowedIPs: prefixes("192.168.178.0/24", "0.0.0.0/0", "fd11:2233::/64", "::/0"),
				Endpoint: "abcdefgh.myfritz.net:55555", Keepalive: 25 * time.Second}}}},
	{"four resolvers", "[Interface]\nPrivateKey = PRIVATE\nAddress = 172.16.0.2/32\nAddress = 2001:db8:110::2/128\nDNS = 1.1.1.1, 1.0.0.1, 2606:4700:4700::1111, 2606:4700:4700::1001\nMTU = 1280\n" +
		"[Peer]\nPublicKey = KEY(a)\nAllowedIPs = 0.0.0.0/0\nAllowedIPs = ::/0\nEndpoint = engage.example.com:2408\n",
		File{Addresses: prefixes("172.16.0.2/32", "2001:db8:110::2/128"), DNS: addrs("1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001"), MTU: 1280,
			Peers: []Peer{{PublicKey: public("a"), AllowedIPs: prefixes("0.0.0.0/0", "::/0"), Endpoint: "engage.example.com:2408"}}}},
	{"by hand", "\ufeff  [INTERFACE] # me\nprivatekey=PRIVATE\naddress = 10.9.0.7\tfd09::7\nListenPort = 51821\nDNS = 10.9.0.1 corp.Example, Lan.\nTable = AUTO\nSaveConfig = false\nFwMark = off\n" +
		"[peer]\nPUBLICKEY=KEY(a)\nallowedips=10.9.0.1,10.9.0.1/32, 10.1.2.3/8\nendpoint=[2001:db8::7]:51820\npersistentkeepalive=OFF\n" +
		"[Peer]\nPublicKey=KEY(b)\nPresharedKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs=fd09::1\nEndpoint=192.0.2.9:1\n",
		File{Addresses: prefixes("10.9.0.7/32", "fd09::7/128"), DNS: addrs("10.9.0.1"), Search: []string{"corp.example", "lan"}, ListenPort: 51821,
			Peers: []Peer{
				{PublicKey: public("a"), AllowedIPs: prefixes("10.9.0.1/32", "10.0.0.0/8"), Endpoint: "[2001:db8::7]:51820"},
				{PublicKey: public("b"), AllowedIPs: prefixes("fd09::1/128"), Endpoint: "192.0.2.9:1"},
			}}},
}

// What others have made is read, and what is printed of it means the same.
func TestParse(t *testing.T) {
	for _, tt := range provided {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("wg0.conf", []byte(fill(tt.text)))
			require.NoError(t, err)
			tt.want.PrivateKey = private
			require.Equal(t, &tt.want, f)
			again, err := Parse("wg0.conf", f.Text())
			require.NoError(t, err, "%s", f.Text())
			require.Equal(t, f, again)
		})
	}
}

// A file that others may read is refused, as are one that is none.
func TestLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "wg0.conf")
	_, err := Load(name)
	require.EqualError(t, err, "there is no file "+name)
	require.NoError(t, os.WriteFile(name, []byte(fill(provided[0].text)), 0o600))
	f, err := Load(name)
	require.NoError(t, err)
	require.Equal(t, private, f.PrivateKey)
	require.NoError(t, os.Chmod(name, 0o640))
	_, err = Load(name)
	require.EqualError(t, err, "WireGuard file "+name+" may be read or changed by users other than its owner (mode 0640)")
	_, err = Load(filepath.Dir(name))
	require.ErrorContains(t, err, "is not a regular file")
}

const whole = `[Interface]
PrivateKey = PRIVATE
Address = 10.8.0.2/32

[Peer]
PublicKey = KEY(a)
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.7:51820
`

// Each mistake is said in one line, with its place, and what to do. No line repeats a key.
func TestParseRefuses(t *testing.T) {
	more := func(section string, lines ...string) string { // adds lines to a section
		return strings.Replace(whole, "["+section+"]", "["+section+"]\n"+strings.Join(lines, "\n"), 1)
	}
	instead := func(line string) string { // replaces the line that has the same key
		key, _, _ := strings.Cut(line, " ")
		var text strings.Builder
		for l := range strings.Lines(whole) {
			if strings.HasPrefix(l, key+" ") {
				l = line + "\n"
			}
			text.WriteString(l)
		}
		return text.String()
	}
	peers := func(n int) string {
		text := whole
		for i := range n {
			text += "[Peer]\nPublicKey = " + noise.FormatKey(noise.PrivateKey{2, byte(i)}.Public()) + "\nEndpoint = a:1\nAllowedIPs = 10.0.0." + fmt.Sprint(i) + "\n"
		}
		return text
	}
	var many []string
	for i := range MaxAllowedIPs {
		many = append(many, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	for _, tt := range []struct{ text, want string }{
		// The file as a whole.
		{"", "f: it has no section [Interface], and so is no WireGuard file\nf: it has no section [Peer]: add that of the server"},
		{"kind = \"client\"", "f:1: a line stands before the first section: write [Interface] above it\nf: it has"},
		{"[Interface]\nPrivateKey = PRIVATE\nAddress = 10.8.0.2", "f: it has no section [Peer]: add that of the server"},
		{whole + "[Interface]\nPrivateKey = PRIVATE\nAddress = 10.8.0.2", "f:9: this is the second [Interface]: join the two"},
		{whole + "[Peers]\nPublicKey = x", `f:9: "[Peers]" is no section: there are [Interface] and [Peer]`},
		{peers(MaxPeers), "f:133: there are more than 32 peers: leave some out"},
		{strings.Repeat("#", MaxSize+1), "f is longer than 65536 bytes, which no WireGuard file needs"},
		{"\xff\xfe[\x00", "f is text in UTF-16"},
		{more("Peer", "nonsense"), "f:6: this is no line of the form KEY = VALUE"},
		{instead("MTU = 1200") + "[Peer]\n", "f:9: [Peer] has no PublicKey"},

		// What is missing.
		{strings.Replace(whole, "PrivateKey", "#", 1), "f:1: [Interface] has no PrivateKey: that is who this host is"},
		{strings.Replace(whole, "Address", "#", 1), "f:1: [Interface] has no Address: that is the address of this host in the tunnel"},
		{strings.Replace(whole, "PublicKey", "#", 1), "f:5: [Peer] has no PublicKey: that is who the peer is"},
		{strings.Replace(whole, "AllowedIPs", "#", 1), "f:5: [Peer] has no AllowedIPs: they say which packets go to this peer"},
		{strings.Replace(whole, "Endpoint", "#", 1), "f:5: [Peer] has no Endpoint: this program does not wait for peers to call; add HOST:PORT"},

		// Keys that are not honoured, and unknown ones.
		{more("Interface", "Table = 1234"), "f:2: Table is not honoured, because this program's own routes are the kill switch: remove the line; which networks go into the tunnel is what AllowedIPs say, or the setting routes"},
		{more("Interface", "Table = off"), "f:2: Table is not honoured"},
		{more("Interface", "FwMark = 0x1"), "f:2: FwMark is not honoured, because this program marks its packets itself: remove the line"},
		{more("Interface", "SaveConfig = true"), "f:2: SaveConfig is not honoured, because this program never writes to the file: remove the line"},
		{more("Interface", "PreUp = a", "postup = b", "PreDown = c", "POSTDOWN = d"), "f:2: PreUp is a command, and this program runs none: remove the line, and run the command by a unit of systemd"},
		{more("Interface", "PreUp = a", "postup = b", "PreDown = c", "POSTDOWN = d"), "\nf:3: postup is a command"},
		{more("Interface", "PreUp = a", "postup = b", "PreDown = c", "POSTDOWN = d"), "\nf:5: POSTDOWN is a command"},
		{more("Interface", "Jc = 4"), "f:2: Jc belongs to AmneziaWG, whose packets differ from those of the WireGuard protocol: ask for a file for the plain protocol"},
		{more("Interface", "Adress = 10.8.0.3"), `f:2: "Adress" is not a key: is Address meant?`},
		{more("Peer", "AllowedIP = 10.8.0.3"), `f:6: "AllowedIP" is not a key: is AllowedIPs meant?`},
		{more("Peer", "Colour = red"), `f:6: "Colour" is not a key that this program knows: remove the line if you can do without what it asks for`},
		{more("Peer", "DNS = 10.8.0.1"), "f:6: DNS does not belong to [Peer], but to [Interface]"},
		{more("Interface", "endpoint = a:1"), "f:2: Endpoint does not belong to [Interface], but to [Peer]"},
		{more("Interface", "PRIVATE = x"), "f:2: a text that may be a key is not a key that this program knows"},

		// Values.
		{more("Interface", "PrivateKey = PRIVATE"), "f:3: PrivateKey is given twice, here and on line 2: leave one of them"},
		{instead("PrivateKey = PRIVATEx"), "f:2: PrivateKey is not a key, which has 44 characters of base64: copy all of it"},
		{instead("PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "f:2: PrivateKey is all zero, which is not a key: copy the right one"},
		{more("Peer", "PresharedKey = PSK="), "f:6: PresharedKey is not a key, which has 44 characters of base64: copy all of it"},
		{instead("PublicKey = " + noise.FormatKey(private.Public())), "f:6: PublicKey is that of this host's own PrivateKey: write the server's"},
		{whole + "[Peer]\nPublicKey = KEY(a)\nAllowedIPs = 10.0.0.0/8\nEndpoint = a:1\n", "f:10: PublicKey is that of the peer on line 6, too: join the two"},
		{instead("Address ="), "f:3: Address has no value"},
		{instead("Address = 10.8.0.2/33"), `f:3: Address has "10.8.0.2/33", which is not an address, such as 10.8.0.2, or a network, such as 10.0.0.0/8`},
		{instead("Address = 10.8.0.2, fe80::1%eth0"), `f:3: Address has "fe80::1%eth0", which is not an address`},
		{instead("Address = ::ffff:10.8.0.2"), `f:3: Address has "::ffff:10.8.0.2", which is an IPv4 address in the form of IPv6: write it in that of IPv4`},
		{instead("Address = 0.0.0.0/0"), `f:3: Address has "0.0.0.0/0", which can't be the address of a host in a tunnel`},
		{instead("Address = 127.0.0.1"), `which can't be the address of a host in a tunnel`},
		{instead("Address = fe80::2/64"), `which can't be the address of a host in a tunnel`},
		{instead("Address = 10.8.0.2/7"), `f:3: Address has "10.8.0.2/7", which has a prefix length that is for more than a subnet: write /32, or /128 for IPv6`},
		{instead("Address = ff02::1"), `which can't be the address of a host in a tunnel`},
		{instead("Address = " + strings.Join(many[:MaxAddresses+1], ",")), "f:3: Address has more than 8 values: leave some out"},
		{more("Interface", "DNS = 127.0.0.1"), `f:2: DNS has "127.0.0.1", which can't be the address of a resolver`},
		{more("Interface", "DNS = "+strings.ReplaceAll(strings.Join(many[:MaxDNS+1], ","), ".0/24", ".1")), "f:2: DNS has more than 16 resolvers: leave some out"},
		{more("Interface", "DNS = a,b,c,d", "DNS = e,f,g"), "f:3: DNS has more than 6 search domains: leave some out"},
		{more("Interface", "DNS = -x"), `f:2: DNS has "-x", which is neither an address nor a domain`},
		{more("Interface", "MTU = big"), `f:2: MTU is "big": write 576 to 65535 bytes`},
		{more("Interface", "MTU = 575"), `f:2: MTU is "575": write 576 to 65535 bytes`},
		{more("Interface", "MTU = 1279", "Address = fd00::2"), "f: MTU is 1279, but there is an IPv6 address: write at least 1280"},
		{more("Interface", "ListenPort = 65536"), `f:2: ListenPort is "65536": write 0 to 65535`},
		{more("Peer", "PersistentKeepalive = -1"), `f:6: PersistentKeepalive is "-1": write 0 to 65535 seconds, or "off"`},
		{instead("AllowedIPs ="), "f:7: AllowedIPs are none: write which packets go to this peer"},
		{instead("AllowedIPs = +10.0.0.0/8"), `f:7: AllowedIPs has "+10.0.0.0/8", which is not an address`},
		{instead("AllowedIPs = " + strings.Join(many, ", ") + ", 10.9.0.0/24"), "f:7: AllowedIPs are more than 512 networks: join neighbouring ones"},
		{whole + "[Peer]\nPublicKey = KEY(b)\nAllowedIPs = 10.0.0.0/8, 0.0.0.0/0\nEndpoint = a:1\n", "f:11: AllowedIPs has 0.0.0.0/0, which the peer on line 7 has, too: a packet can go to one of them only"},
		{instead("Endpoint = vpn.example.org"), `f:8: Endpoint is "vpn.example.org": write HOST:PORT, such as vpn.example.org:51820, 192.0.2.7:51820 or [2001:db8::7]:51820`},
		{instead("Endpoint = 2001:db8::7:51820"), `f:8: Endpoint is "2001:db8::7:51820": write HOST:PORT`},
		{instead("Endpoint = 192.0.2.7:0"), `f:8: Endpoint is "192.0.2.7:0", where no server can be`},
		{instead("Endpoint = 0.0.0.0:1"), "where no server can be"},
		{instead("Endpoint = 255.255.255.255:1"), "where no server can be"},
		{instead("Endpoint = [fe80::1%eth0]:1"), "where no server can be"},
		{instead("Endpoint = vpn.example.org:0"), `f:8: Endpoint is "vpn.example.org:0": write HOST:PORT`},
		{instead("Endpoint = 192.0.2.300:1"), `f:8: Endpoint is "192.0.2.300:1": write HOST:PORT`},
		{instead("Endpoint = vpn.example.org:wireguard"), `f:8: Endpoint is "vpn.example.org:wireguard": write HOST:PORT`},
		{instead("Endpoint = " + strings.Repeat("x", 70) + ":1"), "f:8: Endpoint is a text that may be a key: write HOST:PORT"},
	} {
		_, err := Parse("f", []byte(fill(tt.text)))
		require.Error(t, err, "%s", tt.want)
		require.Contains(t, err.Error(), tt.want)
		if strings.HasPrefix(tt.want, "f") && !strings.Contains(tt.want, "\n") {
			require.True(t, strings.HasPrefix(err.Error(), tt.want), "%v", err)
		}
		for _, secret := range []string{noise.FormatKey(private), noise.FormatKey(psk)} {
			require.NotContains(t, err.Error(), secret[:40])
		}
	}

	// What stands in an unknown section is not judged.
	_, err := Parse("f", []byte(fill(whole+"[Peers]\nPublicKey = x\ny\n")))
	require.EqualError(t, err, `f:9: "[Peers]" is no section: there are [Interface] and [Peer]`)

	// Many mistakes are not all shown, and a harmless line is none.
	_, err = Parse("f", []byte(fill(more("Interface", strings.Split(strings.Repeat("x = 1,", 100), ",")[:100]...))))
	require.Equal(t, maxErrors+1, len(strings.Split(err.Error(), "\n")))
	require.True(t, strings.HasSuffix(err.Error(), "\nand 80 more"), err)
	f, err := Parse("f", []byte(fill(more("Interface", "table = auto", "FwMark = off", "SaveConfig = false"))))
	require.NoError(t, err)
	require.Equal(t, "(WireGuard file)", fmt.Sprint(f), "keys are not shown by accident")
	f, err = Parse("f", []byte(fill(instead("Endpoint = [::ffff:192.0.2.9]:1"))))
	require.NoError(t, err)
	require.Equal(t, "192.0.2.9:1", f.Peers[0].Endpoint)
}

// Networks joins what can be joined, and leaves nothing out.
func TestNetworks(t *testing.T) {
	for _, tt := range []struct{ allowed, want []string }{
		{[]string{"0.0.0.0/0", "::/0"}, []string{"0.0.0.0/0", "::/0"}},
		{[]string{"128.0.0.0/1", "0.0.0.0/1"}, []string{"0.0.0.0/0"}},
		{[]string{"8000::/1", "::/1", "10.0.0.0/8"}, []string{"10.0.0.0/8", "::/0"}},
		{[]string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"}, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"}, []string{"10.0.0.0/22"}},
		{[]string{"10.0.0.0/25", "10.0.1.0/24"}, []string{"10.0.0.0/25", "10.0.1.0/24"}},
		{[]string{"10.0.1.0/24", "10.0.2.0/24"}, []string{"10.0.1.0/24", "10.0.2.0/24"}},
		{[]string{"10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24", "10.0.1.7/32"}, []string{"10.0.0.0/23"}},
	} {
		f := &File{}
		for _, p := range prefixes(tt.allowed...) {
			f.Peers = append(f.Peers, Peer{AllowedIPs: []netip.Prefix{p}})
		}
		require.Equal(t, prefixes(tt.want...), f.Networks(), "%v", tt.allowed)
		require.Equal(t, strings.Contains(strings.Join(tt.want, " ")+" ", "/0 "), f.Everything())
	}
}
