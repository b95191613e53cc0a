package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is one of the lab's hosts. Its methods may be called from several
// goroutines.
type Host struct {
	Name   string
	V4, V6 netip.Addr // the host's addresses in the lab's network
	t      testing.TB // the test that the lab belongs to
}

// runLimit bounds a command of Run and Try.
const runLimit = time.Minute

// Do runs f in the host: sockets that f opens belong to the host for good, even after Do,
// and f sees the host's own /etc, /var/lib and /run. That is true only of the goroutine
// that runs f. Beware of functions that open sockets and files in another goroutine, such
// as those of http.Client, or net.Dial with a name or several addresses; use Run with curl,
// or dial an address. f may fail the test or panic, just as in the goroutine that calls Do.
func (h *Host) Do(f func()) {
	h.t.Helper()
	var err error
	var panicked any
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A namespace belongs to a thread. This thread ends with the goroutine that is
		// locked to it, so no other goroutine ever runs in the host by mistake.
		runtime.LockOSThread()
		if err = h.enter(); err != nil {
			return
		}
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("on host %s: %v\n%s", h.Name, p, debug.Stack())
			}
		}()
		f()
		returned = true
	}()
	<-done
	switch {
	case err != nil:
		h.t.Fatalf("netlab: entering %s: %v", h.Name, err)
	case panicked != nil:
		panic(panicked)
	case !returned:
		runtime.Goexit() // as f did, by FailNow or SkipNow
	}
}

// The main thread can't end before the process does, so a goroutine of Do must not run on
// it: the main goroutine keeps it.
func init() { runtime.LockOSThread() }

// enter moves the calling thread into the host.
func (h *Host) enter() error {
	// A thread can change its mount namespace only if it has a working folder of its
	// own. Setns then moves it to the root folder of the namespace.
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, namespace := range []struct {
		path string
		kind int
	}{
		{"/run/netns/" + h.Name, unix.CLONE_NEWNET},
		{"/run/mntns/" + h.Name, unix.CLONE_NEWNS}, // last: there is no /run/mntns inside
	} {
		fd, err := unix.Open(namespace.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", namespace.path, err)
		}
		err = unix.Setns(fd, namespace.kind)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", namespace.path, err)
		}
	}
	return unix.Chdir(folder)
}

// Run runs a command on the host and returns what it wrote to standard output
// and standard error. If it fails, so does the test.
func (h *Host) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := h.Try(name, args...)
	if err != nil {
		t.Fatalf("%s# %s %s: %v\n%s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run for a command that may fail. A command that takes longer than a
// minute is killed.
func (h *Host) Try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	ended, err := h.start(cmd)
	if err != nil {
		return "", err
	}
	err = <-ended
	if ctx.Err() != nil {
		err = fmt.Errorf("took longer than %v", runLimit)
	}
	return out.String(), err
}

// start starts cmd on the host: a process belongs to the namespaces of the thread that
// starts it. When the process has ended and its output is complete, ended delivers the
// result of cmd.Wait. Until then the thread must live: to the kernel, the end of the thread
// is the death of the parent, for which a process may have requested a signal.
func (h *Host) start(cmd *exec.Cmd) (ended <-chan error, err error) {
	started, end := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: see Do
		err := h.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			end <- cmd.Wait()
		}
	}()
	err = <-started
	if err != nil && cmd.Err != nil {
		err = fmt.Errorf("%w (shared/lab/setup.sh installs what the lab needs)", err)
	}
	return end, err
}

// Write sets a kernel setting of the host, by its path below /proc/sys/net,
// such as "ipv4/ip_forward".
func (h *Host) Write(t testing.TB, setting, value string) {
	t.Helper()
	var err error
	h.Do(func() { err = os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0) })
	if err != nil {
		t.Fatalf("%s# %v", h.Name, err)
	}
}

// Read returns a kernel setting of the host, by its path below /proc/sys/net.
func (h *Host) Read(t testing.TB, setting string) string {
	t.Helper()
	var value []byte
	var err error
	h.Do(func() { value, err = os.ReadFile("/proc/sys/net/" + setting) })
	if err != nil {
		t.Fatalf("%s# %v", h.Name, err)
	}
	return strings.TrimSpace(string(value))
}
