package names

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step6-dns/resolvconf"
)

const plain = "# the cafe's\nsearch cafe.example\nnameserver 198.51.100.1\noptions edns0 trust-ad timeout:2\n"

// The underlay's resolvers are the same before Use and while it is in force. What another
// program writes meanwhile counts.
func TestUnderlay(t *testing.T) {
	addrs := func(list ...string) (addrs []netip.Addr) {
		for _, a := range list {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want []netip.Addr
	}{
		{"a file", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte(plain), 0o644))
		}, addrs("198.51.100.1")},
		{"several, and nonsense", func(t *testing.T, path string) {
			text := "nameserver\nnameserver x\n#nameserver 1.1.1.1\nnameserver 2001:db8::1\n nameserver\t9.9.9.9 # fast\nnameserver 0.0.0.0\nnameserver 7.7.7.7\n"
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}, addrs("2001:db8::1", "9.9.9.9")},
		{"this host", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte("nameserver 127.0.0.1\nnameserver 9.9.9.9\n"), 0o644))
		}, addrs("9.9.9.9")},
		{"a symlink", func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path+".real", []byte(plain), 0o644))
			require.NoError(t, os.Symlink(filepath.Base(path)+".real", path))
		}, addrs("198.51.100.1")},
		{"a dangling symlink", func(t *testing.T, path string) { require.NoError(t, os.Symlink("nowhere", path)) }, nil},
		{"absent", func(*testing.T, string) {}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			config := resolvconf.Config{
				Device: "lo", DNS: addrs("10.8.0.1"),
				Path: filepath.Join(dir, "resolv.conf"), State: filepath.Join(dir, "state"),
			}
			c.make(t, config.Path)
			underlay := func() []netip.Addr {
				t.Helper()
				list, err := Underlay(config)
				require.NoError(t, err)
				return list
			}
			require.ElementsMatch(t, c.want, underlay(), "before")
			undo, err := resolvconf.Use(config)
			require.NoError(t, err)
			require.ElementsMatch(t, c.want, underlay(), "while")

			if c.name == "a symlink" { // to the text of a DHCP client in another network
				require.NoError(t, os.WriteFile(config.Path+".real", []byte("nameserver 192.0.2.53\n"), 0o644))
				require.Equal(t, addrs("192.0.2.53"), underlay())
			}
			if c.name == "a file" { // in the place of the file
				require.NoError(t, os.WriteFile(config.Path, []byte("nameserver 192.0.2.53\nnameserver 10.8.0.1\n"), 0o644))
				require.Equal(t, addrs("192.0.2.53"), underlay(), "without the tunnel's own")
			}
			require.NoError(t, undo())
		})
	}
}
