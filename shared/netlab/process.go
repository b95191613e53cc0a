package netlab

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Process is a program that runs on a host in the background. It ends when its test
// ends, if not before. Its methods are safe for concurrent use.
type Process struct {
	line  string // as one would type it
	cmd   *exec.Cmd
	log   output
	ended chan struct{} // closed when the process has ended and its log is complete
}

// waitLimit bounds the wait for a line of a log and for the end of a process. It is long,
// so that tests do not fail on a busy machine.
const waitLimit = 60 * time.Second

// Start starts a program on the host.
func (h *Host) Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{
		line:  h.Name + "# " + strings.Join(append([]string{name}, args...), " "),
		cmd:   exec.Command(name, args...),
		ended: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.WaitDelay = time.Second // for children that keep the log open
	ended, err := h.start(p.cmd)
	if err != nil {
		t.Fatalf("%s: %v", p.line, err)
	}
	go func() {
		<-ended // the exit code is in cmd.ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Kill()
		p.Wait(t)
		if t.Failed() {
			t.Logf("%s (exit code %d) logged:\n%s", p.line, p.exitCode(), p.Log())
		}
	})
	return p
}

// Log returns what the program has written to standard output and standard
// error so far.
func (p *Process) Log() string { return p.log.String() }

// WaitLog waits until the log contains the text. It fails the test if the program ends
// without logging it, or after a minute.
func (p *Process) WaitLog(t testing.TB, text string) {
	t.Helper()
	Eventually(t, waitLimit, p.line+" logs "+text, func() bool {
		ended := p.Ended()
		if strings.Contains(p.Log(), text) {
			return true
		}
		if ended {
			t.Fatalf("%s ended without logging %q:\n%s", p.line, text, p.Log())
		}
		return false
	})
}

// Pid returns the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal, such as syscall.SIGUSR1. If the process has ended, it does
// nothing.
func (p *Process) Signal(s os.Signal) { p.cmd.Process.Signal(s) }

// Interrupt sends SIGINT, as Ctrl-C does.
func (p *Process) Interrupt() { p.Signal(syscall.SIGINT) }

// Kill ends the process at once, by SIGKILL.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL) }

// Ended reports whether the process has ended and its log is complete.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Wait waits for the end of the process and returns its exit code: 128 plus the signal's
// number if a signal ended it. After a minute it fails the test.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(waitLimit):
		t.Fatalf("%s does not end:\n%s", p.line, p.Log())
	}
	return p.exitCode()
}

// exitCode returns the exit code of a process that has ended.
func (p *Process) exitCode() int {
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// maxOutput is how much of a program's output is kept, in bytes.
const maxOutput = 8 << 20

// output collects what a program writes. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write keeps p, or notes once that the rest of the output was not kept.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() < maxOutput {
		o.text.Write(p)
		if o.text.Len() >= maxOutput {
			o.text.WriteString("\n(netlab: the rest of the output was not kept)\n")
		}
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
