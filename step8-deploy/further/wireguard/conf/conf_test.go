package conf

import (
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
	{"by hand", "\ufeff  [INTERFACE] # me\nprivatekey=PRIVATE\naddress = 10.9.0.7 fd09::7\nListenPort = 51821\nDNS = 10.9.0.1 corp.Example, Lan.\nTable = AUTO\nSaveConfig = false\nFwMark = off\n" +
		"[peer]\nPUBLICKEY=KEY(a)\nallowedips=10.9.0.1,10.9.0.1/32, 10.1.2.3/8\nendpoint=[2001:db8::7]:51820\npersistentkeepalive=OFF\n" +
		"[Peer]\nPublicKey=KEY(b)\nPresharedKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs=fd09::1\nEndpoint=[::ffff:192.0.2.9]:1\n",
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
