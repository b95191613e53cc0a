package names

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The nameservers that a resolver on this host asks are read from its command line and its
// settings.
func TestUpstreams(t *testing.T) {
	for _, c := range []struct {
		name, command, want string
		files               map[string]string
	}{
		{"dnsmasq's command line", "dnsmasq --no-resolv --server=192.0.2.1 -S 192.0.2.2 -S192.0.2.3#53 --server 2001:db8::1 --server=/corp/192.0.2.9 --server=192.0.2.8#5353 --server=192.0.2.4@eth0",
			"192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 192.0.2.4", nil},
		{"dnsmasq's files", "/usr/sbin/dnsmasq -r /run/dnsmasq/resolv.conf -7 /etc/dnsmasq.d,.dpkg-dist", "192.0.2.1 192.0.2.3 192.0.2.2", map[string]string{
			"/run/dnsmasq/resolv.conf":     "nameserver 192.0.2.1\n",
			"/etc/dnsmasq.conf":            "# server=192.0.2.7\n server = 192.0.2.2 \nconf-file=/etc/dnsmasq.conf\n",
			"/etc/dnsmasq.d/a":             "server=192.0.2.3\n",
			"/etc/dnsmasq.d/b.dpkg-dist":   "server=192.0.2.8\n",
			"/etc/other/never-read.conf":   "server=192.0.2.9\n",
			"/etc/dnsmasq.d/many-MB.block": strings.Repeat("server=192.0.2.8\n", maxSettings),
		}},
		{"another file", "dnsmasq -C /etc/my.conf", "192.0.2.1", map[string]string{
			"/etc/my.conf":      "conf-dir=/etc/my.d/,*.conf\n",
			"/etc/my.d/1.conf":  "server=192.0.2.1\n",
			"/etc/my.d/2.other": "server=192.0.2.2\n",
			"/etc/dnsmasq.conf": "server=192.0.2.9\n",
		}},
		{"NetworkManager's", "dnsmasq --no-resolv --enable-dbus=org.freedesktop.NetworkManager.dnsmasq --conf-dir=/etc/NetworkManager/dnsmasq.d", "192.0.2.1", map[string]string{
			"/run/NetworkManager/no-stub-resolv.conf": "nameserver 192.0.2.1\n",
		}},
		{"Pi-hole", "pihole-FTL -f", "192.0.2.1", map[string]string{"/etc/pihole/dnsmasq.conf": "server=192.0.2.1\n"}},
		{"unbound", "unbound -d -p", "192.0.2.1 192.0.2.2", map[string]string{
			"/etc/unbound/unbound.conf":          "include-toplevel: \"/etc/unbound/unbound.conf.d/*.conf\"\nserver:\n\tinterface: 127.0.0.1\n",
			"/etc/unbound/unbound.conf.d/a.conf": "forward-zone: # all\n  name: \".\"\n  forward-addr: 192.0.2.1\n  forward-addr: 192.0.2.2@53#dns.example # a comment\n  forward-addr: 192.0.2.3@853#dns.example\nforward-zone:\n  name: \"corp.\"\n  forward-addr: 192.0.2.9\n",
		}},
		{"a recursive one", "unbound -c /etc/u.conf", "", map[string]string{"/etc/u.conf": "server:\n\tinterface: 127.0.0.1\n"}},
		{"dnscrypt-proxy", "dnscrypt-proxy -config /etc/d.toml", "192.0.2.1 2001:db8::1", map[string]string{
			"/etc/d.toml": "listen_addresses = ['127.0.0.1:53']\nbootstrap_resolvers = ['192.0.2.1:53', \"[2001:db8::1]:53\", '192.0.2.2:5353']\n"}},
		{"another program", "cat --server=192.0.2.1", "", nil},
		{"too many", "dnsmasq" + strings.Repeat(" -S 192.0.2.1", 9) + " -S 192.0.2.2", "192.0.2.1 192.0.2.2", nil},
		{"nonsense", "dnsmasq -S", "", map[string]string{"/etc/dnsmasq.conf": "server=\x00\nserver=x\nresolv-file=etc\nconf-dir=/\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			write := func(path, text string) {
				require.NoError(t, os.MkdirAll(filepath.Dir(root+path), 0o755))
				require.NoError(t, os.WriteFile(root+path, []byte(text), 0o644))
			}
			for path, text := range c.files {
				write(path, text)
			}
			write("/proc/7/cmdline", strings.ReplaceAll(c.command, " ", "\x00")+"\x00")
			write("/proc/8/cmdline", "")
			write("/proc/stat", "")
			require.Equal(t, c.want, words(upstreams(root)))
		})
	}
}

func words(list []netip.Addr) string {
	var words []string
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// Programs of ordinary users and of containers are not trusted.
func TestUpstreamsOfOthers(t *testing.T) {
	root := t.TempDir()
	proc := root + "/proc/7"
	require.NoError(t, os.MkdirAll(proc+"/ns", 0o755))
	require.NoError(t, os.WriteFile(proc+"/cmdline", []byte("dnsmasq\x00--server=192.0.2.1\x00"), 0o644))
	require.NoError(t, os.MkdirAll(root+"/proc/thread-self/ns", 0o755))
	require.NoError(t, os.Symlink("net:[1]", root+"/proc/thread-self/ns/net"))
	require.NoError(t, os.Symlink("net:[1]", proc+"/ns/net"))
	require.Equal(t, "192.0.2.1", words(upstreams(root)))
	require.NoError(t, os.Remove(proc+"/ns/net"))
	require.NoError(t, os.Symlink("net:[2]", proc+"/ns/net"))
	require.Empty(t, upstreams(root))
	require.NoError(t, os.Remove(proc+"/ns/net"))
	require.Equal(t, "192.0.2.1", words(upstreams(root)), "it can't be told")
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(proc, 1000, 1000))
		require.Empty(t, upstreams(root))
	}
}
