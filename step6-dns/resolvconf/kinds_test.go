package resolvconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const plain = "# the cafe's\nsearch cafe.example\nnameserver 198.51.100.1\noptions edns0 trust-ad timeout:2\n"

// written is what Use makes of it.
var written = strings.ReplaceAll(`# Written by the VPN client while it is connected (lo). The original comes back
# when it ends; if it was killed, when it starts again, or with: PROGRAM -recover
search corp.example
nameserver 10.8.0.1
nameserver fd00:8::1
options edns0 timeout:2
`, "PROGRAM", filepath.Base(os.Args[0]))

// without is the same where there are no options to keep.
var without = strings.TrimSuffix(written, "options edns0 timeout:2\n")

// A kind is a file as Use may find it.
type kind struct {
	name string
	make func(t *testing.T, h *host)
	is   string // who has it in hand
	text string // what Use writes
}

var kinds = []kind{
	{"plain", func(t *testing.T, h *host) { h.write(t, plain) }, "a plain file", written},
	{"odd owner and mode", func(t *testing.T, h *host) {
		h.write(t, plain)
		require.NoError(t, os.Chmod(h.path, 0o640))
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(h.path, 12, 34))
		}
	}, "a plain file", written},
	{"extended attribute", func(t *testing.T, h *host) {
		h.write(t, plain)
		if err := unix.Setxattr(h.path, "user.note", []byte("keep me"), 0); err != nil {
			require.ErrorIs(t, err, unix.EOPNOTSUPP) // as on an older tmpfs
		}
	}, "a plain file", written},
	{"empty", func(t *testing.T, h *host) { h.write(t, "") }, "a plain file", without},
	{"odd bytes", func(t *testing.T, h *host) { h.write(t, "\x00\xffnameserver\r\n\n\n"+strings.Repeat("#", 5000)) }, "a plain file", without},
	{"as we write it", func(t *testing.T, h *host) {
		h.write(t, written)
		h.equal = true
	}, "a plain file", written},
	{"hard link", func(t *testing.T, h *host) {
		h.write(t, plain)
		require.NoError(t, os.Link(h.path, h.path+".other"))
	}, "a plain file", written},
	{"symlink", func(t *testing.T, h *host) {
		require.NoError(t, os.Mkdir(filepath.Dir(h.path)+"/run", 0o755))
		require.NoError(t, os.WriteFile(filepath.Dir(h.path)+"/run/nm.conf", []byte(plain), 0o600))
		require.NoError(t, os.Symlink("run/nm.conf", h.path))
	}, `a symlink to "run/nm.conf"`, written},
	{"dangling symlink", func(t *testing.T, h *host) {
		require.NoError(t, os.Symlink("/nowhere/at/all", h.path))
		if os.Geteuid() == 0 {
			require.NoError(t, os.Lchown(h.path, 12, 34))
		}
	}, `a symlink to "/nowhere/at/all"`, without},
	{"symlink to itself", func(t *testing.T, h *host) { require.NoError(t, os.Symlink("resolv.conf", h.path)) }, `a symlink to "resolv.conf"`, without},
	{"symlink to a pipe", func(t *testing.T, h *host) {
		require.NoError(t, unix.Mkfifo(h.path+".fifo", 0o600))
		require.NoError(t, os.Symlink("resolv.conf.fifo", h.path))
	}, `a symlink to "resolv.conf.fifo"`, without},
	{"absent", func(*testing.T, *host) {}, "absent", without},
	{"bind mount", func(t *testing.T, h *host) { h.mount(t, plain) }, "a bind mount, as in a container", written},
	{"long bind mount", func(t *testing.T, h *host) { h.mount(t, plain+strings.Repeat("# long\n", 300)) }, "a bind mount, as in a container",
		written + strings.Repeat("\n", len(plain)+300*len("# long\n")-len(written))},
	{"short bind mount", func(t *testing.T, h *host) { h.mount(t, "#") }, "a bind mount, as in a container", without},
	{"empty bind mount", func(t *testing.T, h *host) { h.mount(t, "") }, "a bind mount, as in a container", without},
	{"bind mount in a read-only directory", func(t *testing.T, h *host) {
		h.mount(t, plain)
		bind(t, filepath.Dir(h.path), filepath.Dir(h.path), unix.MS_REC)
		require.NoError(t, unix.Mount("", filepath.Dir(h.path), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	}, "a bind mount, as in a container", written},
	{"directory that cannot change", func(t *testing.T, h *host) {
		h.write(t, plain)
		changeAttribute(t, "+i", filepath.Dir(h.path))
		t.Cleanup(func() { changeAttribute(t, "-i", filepath.Dir(h.path)) })
	}, "a plain file", written},
}

// mount binds a file with that content over the path.
func (h *host) mount(t *testing.T, text string) {
	t.Helper()
	other := filepath.Join(filepath.Dir(h.path), "container's")
	require.NoError(t, os.WriteFile(other, []byte(text), 0o640))
	h.write(t, "# below the mount\n")
	bind(t, other, h.path, 0)
}

// bind binds something over something else until the test ends.
func bind(t *testing.T, from, to string, flags uintptr) {
	t.Helper()
	needNamespaces(t)
	require.NoError(t, unix.Mount(from, to, "", unix.MS_BIND|flags, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(to, unix.MNT_DETACH)) })
}

func TestKinds(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			before := h.tree(t)
			require.Equal(t, k.is, h.whose(t))

			undo := h.use(t)
			require.Equal(t, k.text, h.read(t))
			undo()
			require.Equal(t, before, h.tree(t))
			h.clean(t)
			undo() // once more does no harm
			require.Equal(t, before, h.tree(t))
			h.recover(t, false)
		})
	}
}

// A file is replaced with one of the same owner and mode, so that everybody who
// could read the one can read the other; and at once.
func TestModes(t *testing.T) {
	h := newHost(t)
	h.write(t, plain)
	require.NoError(t, os.Chmod(h.path, 0o604))
	unix.Umask(unix.Umask(0o077)) // whatever it is, it does not matter
	undo := h.use(t)
	info, err := os.Stat(h.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o604), info.Mode())
	undo()

	require.NoError(t, os.Remove(h.path))
	defer unix.Umask(unix.Umask(0o077))
	undo = h.use(t)
	info, err = os.Stat(h.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())
	undo()
}

// A filesystem that cannot exchange two names has the original made anew.
func TestNoExchange(t *testing.T) {
	renameat2 = func(int, string, int, string, uint) error { return unix.EINVAL }
	defer func() { renameat2 = unix.Renameat2 }()
	for _, k := range kinds {
		if strings.Contains(k.name, "link") && !strings.Contains(k.name, "symlink") {
			continue // it cannot be kept
		}
		if k.name == "extended attribute" {
			continue // likewise
		}
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t)
			k.make(t, h)
			before := h.tree(t)
			undo := h.use(t)
			require.Equal(t, k.text, h.read(t))
			undo()
			require.Equal(t, noInodes(before), noInodes(h.tree(t)))
			h.clean(t)
		})
	}
}

// noInodes removes their numbers from a tree.
func noInodes(lines []string) []string {
	var out []string
	for _, l := range lines {
		before, after, found := strings.Cut(l, " inode=")
		if found {
			_, after, _ = strings.Cut(after, " ")
		}
		out = append(out, before+after)
	}
	return out
}

// changeAttribute is chattr(1).
func changeAttribute(t *testing.T, how, path string) {
	t.Helper()
	needNamespaces(t)
	out, err := exec.Command("chattr", how, path).CombinedOutput()
	if err != nil && strings.Contains(string(out), "Operation not permitted") {
		t.Skip("chattr is for the machine's root, not for that of a namespace")
	}
	require.NoError(t, err, "%s", out)
}
