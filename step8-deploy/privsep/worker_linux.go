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

// A Worker is a process without privileges that this one has started. It ends when this one
// does.
type Worker struct {
	Conn *Conn
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// workerFD is the worker's descriptor for its end of the Conn.
const workerFD = 3

// Start starts another process of this program, with these arguments, as a user without
// privileges: that of the name account, if there is one, or else the user number, which
// should belong to no account.
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
	cmd.ExtraFiles = []*os.File{other} // becomes workerFD
	// A Ctrl-C in the terminal is for this process, which passes it on. In a session of its
	// own, the worker also can't inject input into the terminal (TIOCSTI).
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: nobody(account, number)}
	w := &Worker{Conn: conn, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// This thread gives up what the child is not to have, and then starts it. The kernel
		// ends the child when this thread ends, so the thread must live as long as the child.
		runtime.LockOSThread()
		err := renounce()
		if errors.Is(err, unix.EPERM) && cmd.SysProcAttr.Credential != nil {
			err = nil // as another user, the child has no privileges anyway
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

// toWrite returns a file through which the worker can only write to f, and whether that is
// another file: with a terminal's own descriptor, it could also read what is typed there.
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

// renounce makes sure that no program that this thread starts can ever get a privilege
// again, neither by set-user-ID programs nor by being root. The thread itself keeps its
// privileges until it ends.
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
		case unix.EINVAL: // there are no more capabilities
			return nil
		default:
			return os.NewSyscallError("prctl", err)
		}
	}
}

// renounceInheritable clears the inheritable capabilities, which root would pass on despite
// an empty bounding set (capabilities(7)).
func renounceInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&header, &sets[0]))
}

// Owner returns the user and group of the process without privileges.
func Owner(account string, number int) atomicfile.Owner {
	if c := nobody(account, number); c != nil {
		return atomicfile.Owner{UID: int(c.Uid), GID: int(c.Gid)}
	}
	return atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}
}

// nobody returns this user, or nil if the user namespace has no other user: then renounce
// alone has to suffice.
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

// mapped reports whether this user namespace has an ID (user_namespaces(7)).
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

// Signal sends the worker a signal.
func (w *Worker) Signal(s os.Signal) { w.cmd.Process.Signal(s) }

// Done returns a channel that is closed when the worker has ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Ended returns how the worker has ended, once it is Done, and whether a signal or a crash
// has ended it, so that it could not report why.
func (w *Worker) Ended() (err error, crashed bool) {
	const crash = 2 // what Go's runtime exits with
	exit, ok := errors.AsType[*exec.ExitError](w.err)
	return w.err, ok && (!exit.Exited() || exit.ExitCode() == crash)
}

// Parent returns the Conn to the process that has started this one with Start.
func Parent() (*Conn, error) {
	unix.CloseOnExec(workerFD)
	return From(os.NewFile(workerFD, "keeper"))
}

// Hide prevents other processes of the same user from inspecting this one (ptrace(2)).
func Hide() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}
