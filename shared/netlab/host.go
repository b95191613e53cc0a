package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
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
// after Do. That goes for the calling goroutine only. Beware of what opens
// sockets in another one, such as http.Client, or net.Dial with a name or
// several addresses; use Run with curl, or dial an address.
func (h *Host) Do(f func()) {
	h.t.Helper()
	// A namespace belongs to a thread. If the way back fails, the goroutine
	// ends while it is locked to the thread, and the thread ends with it.
	runtime.LockOSThread()
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		h.t.Fatalf("netlab: the thread's namespace: %v", err)
	}
	defer unix.Close(back)
	there, err := unix.Open("/run/netns/"+h.Name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		h.t.Fatalf("netlab: the namespace of %s: %v", h.Name, err)
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		h.t.Fatalf("netlab: entering %s: %v", h.Name, err)
	}
	defer func() {
		if err := unix.Setns(back, unix.CLONE_NEWNET); err != nil {
			h.t.Fatalf("netlab: leaving %s: %v", h.Name, err)
		}
		runtime.UnlockOSThread()
	}()
	f()
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
	if err := h.start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("took longer than %v", runLimit)
	}
	return out.String(), err
}

// start starts cmd on the host: a process belongs to the namespace of the
// thread that starts it.
func (h *Host) start(cmd *exec.Cmd) (err error) {
	h.Do(func() { err = cmd.Start() })
	if err != nil && cmd.Err != nil {
		err = fmt.Errorf("%w (shared/lab/setup.sh installs what the lab needs)", err)
	}
	return err
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
