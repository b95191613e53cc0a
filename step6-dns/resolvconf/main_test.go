package resolvconf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step6-dns/resolvconf/owner"
)

// childVar makes the test binary a client without a tunnel. Its value is a job
// (see child) and optionally "@N": then it kills itself with SIGKILL when it is
// about to take the Nth step.
const childVar = "STEPVPN_TEST_CLIENT"

// Where the child finds its Config.
const pathVar, stateVar, deviceVar = "STEPVPN_TEST_PATH", "STEPVPN_TEST_STATE", "STEPVPN_TEST_DEVICE"

// allDone is what the child says after Use.
const allDone = "names are looked up inside the tunnel"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(childVar); ok {
		if err := child(job); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // what it says would hide what fails
	fetchPackages()
	netlab.Main(m)
}

const limit = 20 * time.Second

// child does one of three jobs: "use" until Ctrl-C; "use and undo" at once; or "recover".
func child(job string) error {
	job, killAt, _ := strings.Cut(job, "@")
	if n, err := strconv.Atoi(killAt); err == nil {
		all := &slog.HandlerOptions{Level: slog.LevelDebug}
		slog.SetDefault(slog.New(&suicide{slog.NewTextHandler(os.Stderr, all), n}))
	}
	c := config(os.Getenv(pathVar), os.Getenv(stateVar))
	if device, ok := os.LookupEnv(deviceVar); ok {
		c.Device = device
	}
	if job == "recover" {
		_, err := Recover(c)
		return err
	}
	undo, err := Use(c)
	if err != nil {
		return err
	}
	if job == "use" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		fmt.Println(allDone)
		<-ctx.Done()
	}
	return undo()
}

// suicide is a log that ends the process by SIGKILL at a certain line. Each
// step is logged before it is taken.
type suicide struct {
	slog.Handler
	left int
}

func (s *suicide) Handle(ctx context.Context, r slog.Record) error {
	if s.left--; s.left == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it takes effect
	}
	return s.Handler.Handle(ctx, r)
}

// run runs a child to its end. It returns what it wrote, and whether it was
// killed; it must not fail.
func (h *host) run(t *testing.T, job string) (log string, killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), h.env(job)...)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
		return string(out), true
	}
	require.NoError(t, err, "%s", out)
	return string(out), false
}

func (h *host) env(job string) []string {
	env := []string{childVar + "=" + job, pathVar + "=" + h.path, stateVar + "=" + h.state}
	if h.device != "" {
		env = append(env, deviceVar+"="+h.device)
	}
	return env
}

// start starts a child, by another command if there is one, and returns when it
// says text.
func (h *host) start(t *testing.T, job, text string, by ...string) (stop func(os.Signal)) {
	t.Helper()
	command := append(by, os.Args[0])
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), h.env(job)...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	stop = func(s os.Signal) {
		cmd.Process.Signal(s)
		cmd.Wait()
	}
	t.Cleanup(func() { stop(syscall.SIGKILL) })
	netlab.Eventually(t, limit, "the child says: "+text, func() bool {
		said, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(said, []byte(text))
	})
	return stop
}

// needNamespaces skips a test that is not run inside namespaces, where mounts
// are its own.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getenv("STEPVPN_SKIP_NETNS") == "1" {
		t.Skip("needs namespaces, and STEPVPN_SKIP_NETNS=1 says to skip")
	}
}

// A host has a file and a journal of its own.
type host struct {
	path, state, device string
	equal               bool // the file found and the one written: which is which, inodes would tell, but nothing else
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{path: filepath.Join(dir, "etc", "resolv.conf"), state: filepath.Join(dir, "state")}
	require.NoError(t, os.Mkdir(filepath.Dir(h.path), 0o755))
	return h
}

// config is for the tests' resolvers. The device exists on every host.
func config(path, state string) Config {
	return Config{
		Device: "lo",
		DNS:    []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")},
		Search: []string{"corp.example"},
		Path:   path,
		State:  state,
	}
}

func (h *host) config() Config {
	c := config(h.path, h.state)
	if h.device != "" {
		c.Device = h.device
	}
	return c
}

func (h *host) write(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(h.path, []byte(text), 0o644))
}

func (h *host) read(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(h.path)
	require.NoError(t, err)
	return string(data)
}

// whose names the program that has the file in hand.
func (h *host) whose(t *testing.T) string {
	t.Helper()
	found, err := look(h.path)
	require.NoError(t, err)
	who, err := owner.Find("lo", h.path, found.Data)
	require.NoError(t, err)
	return cmp.Or(who.Name, found.String())
}

// use calls Use. What it returns calls undo.
func (h *host) use(t *testing.T) (undo func()) {
	t.Helper()
	back, err := Use(h.config())
	require.NoError(t, err)
	return func() {
		t.Helper()
		require.NoError(t, back())
	}
}

// recover calls Recover, which must find something or nothing.
func (h *host) recover(t *testing.T, found bool) {
	t.Helper()
	did, err := Recover(h.config())
	require.NoError(t, err)
	require.Equal(t, found, did)
}

// tree lists all that there is in the file's directory, with all that Use could
// change. Times are left out, and so are the inodes of what is made anew.
func (h *host) tree(t *testing.T) []string {
	t.Helper()
	lines := tree(t, filepath.Dir(h.path))
	if h.equal {
		return noInodes(lines)
	}
	return lines
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d", path, info.Mode(), stat.Uid, stat.Gid)
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			line += fmt.Sprintf(" links=%d inode=%d %q", stat.Nlink, stat.Ino, data)
			value := make([]byte, 100)
			if n, err := unix.Lgetxattr(path, "user.note", value); err == nil {
				line += fmt.Sprintf(" note=%q", value[:n])
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			require.NoError(t, err)
			line += " -> " + target
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

// clean fails the test unless nothing is left of journals but their locks.
func (h *host) clean(t *testing.T, when ...any) {
	t.Helper()
	entries, err := os.ReadDir(h.state)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".lock") })
	require.Empty(t, entries, when...)
}

// logged returns what f logs.
func logged(f func()) string {
	var b bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	f()
	return b.String()
}
