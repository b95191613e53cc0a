package resolvconf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refused calls Use, and returns what it says. Nothing may have changed.
func (h *host) refused(t *testing.T, c Config) string {
	t.Helper()
	before := h.tree(t)
	_, err := Use(c)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, h.tree(t))
	h.clean(t)
	return strings.ReplaceAll(err.Error(), h.path, "FILE")
}

func TestRefusedFiles(t *testing.T) {
	for _, c := range []struct {
		name, says string
		make       func(t *testing.T, h *host)
	}{
		{"directory", "FILE is a directory", func(t *testing.T, h *host) { require.NoError(t, os.Mkdir(h.path, 0o755)) }},
		{"pipe", "FILE is a named pipe", func(t *testing.T, h *host) { require.NoError(t, unix.Mkfifo(h.path, 0o600)) }},
		{"device", "FILE is a device", func(t *testing.T, h *host) {
			needNamespaces(t)
			h.write(t, "")
			bind(t, "/dev/null", h.path, 0)
		}},
		{"huge", "FILE is larger than 64 KB", func(t *testing.T, h *host) { h.write(t, strings.Repeat("#", 64<<10+1)) }},
		{"immutable", "FILE cannot be changed: it is immutable (chattr +i)", func(t *testing.T, h *host) {
			h.write(t, plain)
			changeAttribute(t, "+i", h.path)
			t.Cleanup(func() { changeAttribute(t, "-i", h.path) })
		}},
		{"immutable bind mount", "FILE cannot be changed: it is immutable (chattr +i)", func(t *testing.T, h *host) {
			h.mount(t, plain)
			changeAttribute(t, "+i", h.path)
			t.Cleanup(func() { changeAttribute(t, "-i", h.path) })
		}},
		{"append only", "FILE cannot be changed: it is immutable (chattr +i)", func(t *testing.T, h *host) {
			h.write(t, plain)
			changeAttribute(t, "+a", h.path)
			t.Cleanup(func() { changeAttribute(t, "-a", h.path) })
		}},
		{"absent in an immutable directory", " cannot be changed: it is immutable (chattr +i)", func(t *testing.T, h *host) {
			changeAttribute(t, "+i", filepath.Dir(h.path))
			t.Cleanup(func() { changeAttribute(t, "-i", filepath.Dir(h.path)) })
		}},
		{"read-only", "FILE cannot be changed: it is on a read-only filesystem", func(t *testing.T, h *host) {
			h.write(t, plain)
			dir := filepath.Dir(h.path)
			bind(t, dir, dir, 0)
			require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		}},
		{"symlink in a read-only directory", " cannot be changed: it is on a read-only filesystem", func(t *testing.T, h *host) {
			require.NoError(t, os.Symlink("/run/other", h.path))
			dir := filepath.Dir(h.path)
			bind(t, dir, dir, 0)
			require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		}},
		{"no directory", " cannot be changed: no such file or directory", func(t *testing.T, h *host) {
			h.path = filepath.Join(filepath.Dir(h.path), "none", "resolv.conf")
		}},
		{"an original without a journal", "FILE.before-stepvpn exists: a client was killed, and its journal is gone", func(t *testing.T, h *host) {
			h.write(t, plain)
			require.NoError(t, os.WriteFile(h.path+aside, []byte(plain), 0o644))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			c.make(t, h)
			if c.name == "no directory" {
				_, err := Use(h.config())
				require.ErrorContains(t, err, c.says)
				h.clean(t)
				return
			}
			require.Contains(t, h.refused(t, h.config()), c.says)
		})
	}
}

func TestRefusedConfigs(t *testing.T) {
	addrs := func(list ...string) (all []netip.Addr) {
		for _, a := range list {
			all = append(all, netip.MustParseAddr(a))
		}
		return all
	}
	for _, c := range []struct {
		says  string
		given func(c *Config)
	}{
		{"the tunnel has no resolver", func(c *Config) { c.DNS = nil }},
		{"invalid IP cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = make([]netip.Addr, 1) }},
		{"127.0.0.1 cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = addrs("127.0.0.1") }},
		{"127.0.0.53 cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = addrs("::ffff:127.0.0.53") }},
		{":: cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = addrs("10.8.0.1", "::") }},
		{"224.0.0.251 cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = addrs("224.0.0.251") }},
		{"255.255.255.255 cannot be a resolver inside the tunnel", func(c *Config) { c.DNS = addrs("255.255.255.255") }},
		{"resolver fe80::1%eth0 is not inside the tunnel lo", func(c *Config) { c.DNS = addrs("fe80::1%eth0") }},
		{`search domain "a b" is not a domain`, func(c *Config) { c.Search = []string{"a b"} }},
		{`search domain "a\nnameserver 6.6.6.6" is not a domain`, func(c *Config) { c.Search = []string{"a\nnameserver 6.6.6.6"} }},
		{`search domain "" is not a domain`, func(c *Config) { c.Search = []string{"."} }},
		{`search domain "~" is not a domain`, func(c *Config) { c.Search = []string{"~."} }},
		{`search domain "-a.example" is not a domain`, func(c *Config) { c.Search = []string{"-a.example"} }},
		{`search domain "a..b" is not a domain`, func(c *Config) { c.Search = []string{"a..b"} }},
		{"is not a domain", func(c *Config) { c.Search = []string{strings.Repeat("a", 64)} }},
		{"is not a domain", func(c *Config) { c.Search = []string{strings.Repeat("a.", 200) + "a"} }},
		{"too many search domains: there is room for 6, of 256 bytes together", func(c *Config) { c.Search = strings.Split("a b c d e f g", " ") }},
		{"too many search domains", func(c *Config) {
			long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 30)
			c.Search = []string{long, "x" + long}
		}},
		{`"vpn 0" is not the name of a device`, func(c *Config) { c.Device = "vpn 0" }},
		{`"-x" is not the name of a device`, func(c *Config) { c.Device = "-x" }},
		{`"" is not the name of a device`, func(c *Config) { c.Device = "" }},
		{`"0123456789abcdef" is not the name of a device`, func(c *Config) { c.Device = "0123456789abcdef" }},
		{`tunnel device "vpn77": route ip+net: no such network interface`, func(c *Config) { c.Device = "vpn77" }},
		{`"resolv.conf" is not the whole path of a file`, func(c *Config) { c.Path = "resolv.conf" }},
		{`"/etc/../resolv.conf" is not the whole path of a file`, func(c *Config) { c.Path = "/etc/../resolv.conf" }},
		{`"state" is not the whole path of a directory`, func(c *Config) { c.State = "state" }},
		{"a place for the journal: mkdir /nowhere/at/all: no such file or directory", func(c *Config) { c.State = "/nowhere/at/all" }},
	} {
		t.Run(c.says, func(t *testing.T) {
			h := newHost(t)
			h.write(t, plain)
			cfg := h.config()
			c.given(&cfg)
			require.Contains(t, h.refused(t, cfg), c.says)
		})
	}
}

// The first client goes on undisturbed.
func TestASecondClientIsRefused(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	before := h.tree(t)
	stop := h.start(t, "use", allDone)
	taken := h.tree(t)
	const says = "a client runs on this host, and uses "
	_, err := Use(h.config())
	require.EqualError(t, err, says+h.path)
	_, err = Recover(h.config())
	require.EqualError(t, err, says+h.path)
	require.Equal(t, taken, h.tree(t))
	stop(os.Interrupt)
	require.Equal(t, before, h.tree(t))
	h.use(t)()

	// One process can't have two either.
	undo := h.use(t)
	_, err = Use(h.config())
	require.EqualError(t, err, says+h.path)
	undo()
}

// A directory where others may write, or a symlink, is no place for a journal.
func TestUnsafeState(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	require.NoError(t, os.Mkdir(h.state, 0o777))
	require.NoError(t, os.Chmod(h.state, 0o777))
	require.Contains(t, h.refused(t, h.config()), "state is not ours alone")
	_, err := Recover(h.config())
	require.ErrorContains(t, err, "state is not ours alone")
	require.NoError(t, os.Rename(h.state, h.state+"2"))
	require.NoError(t, os.Symlink(h.state+"2", h.state))
	require.Contains(t, h.refused(t, h.config()), "a place for the journal: open "+h.state+": not a directory")
}

// A full disk, under the file or under the journal: nothing is changed. When it
// fills up later, everything still goes back.
func TestFullDisk(t *testing.T) {
	needNamespaces(t)
	for _, inPlace := range []bool{false, true} {
		t.Run(fmt.Sprintf("file, in place: %v", inPlace), func(t *testing.T) {
			h := newHost(t)
			disk := filepath.Dir(h.path)
			fill := smallDisk(t, disk)
			if inPlace {
				require.NoError(t, os.WriteFile(disk+"/real", nil, 0o644))
				h.write(t, "")
				bind(t, disk+"/real", h.path, 0)
			} else {
				h.write(t, plain)
			}
			undo := h.use(t)
			fill()
			undo() // needs no room
			empty := fill()
			require.Contains(t, h.refused(t, h.config()), "no space left on device")
			empty()
			h.use(t)()
		})
	}
	t.Run("journal", func(t *testing.T) {
		h := newHost(t)
		h.write(t, plain)
		require.NoError(t, os.Mkdir(h.state, 0o700))
		fill := smallDisk(t, h.state)
		require.NoError(t, os.Chmod(h.state, 0o700))
		undo := h.use(t)
		fill()
		undo()
		fill()
		require.Contains(t, h.refused(t, h.config()), "writing the journal, without which nothing is changed: write "+h.state)
	})
}

// smallDisk mounts one that fill fills up, until it is emptied again.
func smallDisk(t *testing.T, dir string) (fill func() (empty func())) {
	t.Helper()
	require.NoError(t, unix.Mount("small", dir, "tmpfs", 0, "size=64k,mode=755"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return func() func() {
		name := filepath.Join(dir, "filler.lock")
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 512))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		return func() { require.NoError(t, os.Remove(name)) }
	}
}

// Without root the machine's own file cannot be changed, and the error says so.
func TestNotRoot(t *testing.T) {
	needNamespaces(t)
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user has no other one to try it as")
	}
	dir, err := os.MkdirTemp("/run", "not-root") // /run is the tests' own, and open to all
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	h := &host{path: filepath.Join(dir, "resolv.conf"), state: filepath.Join(dir, "state")}
	h.write(t, plain)
	require.NoError(t, os.Mkdir(h.state, 0o700))
	require.NoError(t, os.Chown(h.state, 65534, 65534))
	before := noInodes(tree(t, dir))[:2]
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", os.Args[0])
	cmd.Env = append(os.Environ(), h.env("use and undo")...)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), h.path+" cannot be changed: permission denied")
	require.Equal(t, before, noInodes(tree(t, dir))[:2])
	h.clean(t)
}
