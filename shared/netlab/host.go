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

// runLimit bounds a command of Run and Try.
const runLimit = time.Minute

// A Host is one of the lab's hosts. Its methods may be called from several
// goroutines.
type Host struct {
	Name   string
	V4, V6 netip.Addr // its own, on the side of the other hosts
	t      testing.TB // of the lab
}

// Do runs f in the host: sockets that f opens belong to the host for good, also
// after Do, and f sees the host's own /etc, /var/lib and /run. That goes for the
// goroutine that runs f only. Beware of what opens sockets and files in another
// one, such as http.Client, or net.Dial with a name or several addresses; use
// Run with curl, or dial an address. f may fail the test or panic, as it may in
// the goroutine that called Do.
func (h *Host) Do(f func()) {
	h.t.Helper()
	var err error
	var panicked any
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A namespace belongs to a thread. This one ends with the goroutine that
		// is locked to it, so no other one ever runs in the host by mistake.
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

// The main thread can't end before the process does, so Do must not get it: it
// stays with the main goroutine.
func init() { runtime.LockOSThread() }

// enter moves the calling thread into the host.
func (h *Host) enter() error {
	// The thread's working folder is its own from here on, or it could not change
	// its mount namespace. It is then at the root of that.
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
		{"/run/mntns/" + h.Name, unix.CLONE_NEWNS}, // last: it has no /run/mntns
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

// start starts cmd on the host: a process belongs to the namespaces of the
// thread that starts it. What cmd.Wait returned comes from ended, when the
// process has ended and its output is complete. Until then the thread lives:
// the end of it is the death of a parent, which a process may have asked a
// signal for.
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
