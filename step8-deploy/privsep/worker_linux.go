package privsep

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"stepvpn/shared/atomicfile"

	"golang.org/x/sys/unix"
)

// A Worker is a process without privileges that this one has started. It ends with it.
type Worker struct {
	Conn *Conn
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done is closed
}

// workerFD is the descriptor of its end of the Conn.
const workerFD = 3

// Start starts this program anew with these arguments, as a user that may do nothing: the
// one of that name, if there is one, else one with a number of its own that no account
// has.
func Start(account string, number int, args ...string) (*Worker, error) {
	conn, other, err := Pair()
	if err != nil {
		return nil, err
	}
	defer other.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	for _, to := range []struct {
		from *os.File
		to   *io.Writer
	}{{os.Stdout, &cmd.Stdout}, {os.Stderr, &cmd.Stderr}} {
		f, own := toWrite(to.from)
		if own {
			defer f.Close()
		}
		*to.to = f
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{other} // is workerFD
	// A Ctrl-C in the terminal is for this process, which tells the other one. In a session
	// of its own that one can't type anything there, either (TIOCSTI).
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: nobody(account, number)}
	w := &Worker{Conn: conn, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that has started it, which gives
		// up what the child is not to have, and ends with this function.
		runtime.LockOSThread()
		err := renounce()
		if errors.Is(err, unix.EPERM) && cmd.SysProcAttr.Credential != nil {
			err = nil // another user gets nothing in any case
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		w.err = cmd.Wait()
		close(w.done)
	}()
	if err := <-started; err != nil {
		conn.Close()
		return nil, fmt.Errorf("starting the process without privileges: %w", err)
	}
	return w, nil
}

// toWrite returns a file to write to, and whether that is another one: who has a terminal's
// descriptor could read what is typed there.
func toWrite(f *os.File) (to *os.File, own bool) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return f, false
	}
	to, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return f, false
	}
	return to, true
}

// renounce has this thread, and what it starts, never get any privilege again: not by
// starting a program, nor by being root. What the thread itself has stays until it ends.
func renounce() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := renounceInheritable(); err != nil {
		return err
	}
	for capability := uintptr(0); ; capability++ {
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err {
		case nil:
		case unix.EINVAL: // there are no more
			return nil
		default:
			return os.NewSyscallError("prctl", err)
		}
	}
}

// renounceInheritable gives up what root inherits without a bounding set (capabilities(7)).
func renounceInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&header, &sets[0]))
}

// Owner returns who the process without privileges will be.
func Owner(account string, number int) atomicfile.Owner {
	if c := nobody(account, number); c != nil {
		return atomicfile.Owner{UID: int(c.Uid), GID: int(c.Gid)}
	}
	return atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}
}

// nobody returns the user, or nil if this namespace has only one: then renounce has to do.
func nobody(account string, number int) *syscall.Credential {
	uid, gid := number, number
	if u, err := user.Lookup(account); err == nil {
		a, err1 := strconv.Atoi(u.Uid)
		b, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && a != 0 {
			uid, gid = a, b
		}
	}
	if !mapped("/proc/self/uid_map", uid) || !mapped("/proc/self/gid_map", gid) {
		slog.Debug("the process without privileges has the same user: this namespace has no other")
		return nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// mapped tells whether a user namespace has an id (user_namespaces(7)).
func mapped(file string, id int) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, n int
		if _, err := fmt.Sscan(line, &first, &outside, &n); err == nil && id >= first && id < first+n {
			return true
		}
	}
	return false
}

// Signal sends it a signal.
func (w *Worker) Signal(s os.Signal) { w.cmd.Process.Signal(s) }

// Done is closed when it has ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Ended returns how it has ended, once it is Done, and whether that was by a signal or a
// crash, of which nobody has told.
func (w *Worker) Ended() (err error, crashed bool) {
	const crash = 2 // what Go's runtime exits with
	exit, ok := errors.AsType[*exec.ExitError](w.err)
	return w.err, ok && (!exit.Exited() || exit.ExitCode() == crash)
}

// Parent returns the Conn to the process that has started this one by Start.
func Parent() (*Conn, error) {
	unix.CloseOnExec(workerFD)
	return From(os.NewFile(workerFD, "keeper"))
}

// Hide keeps others of the same user from looking into this process (ptrace(2)).
func Hide() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}
