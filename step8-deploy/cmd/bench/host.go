package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// This file runs programs on the lab's hosts: to the end (run), or in the background
// (process).

// A host is one of the lab's hosts, by its name.
type host string

const (
	alice  host = "alice"  // the clients run here
	bob    host = "bob"    // and here are all but one of a crowd
	server host = "server" // the servers
	web    host = "web"    // a host on the internet, behind the server's NAT
)

// command returns the command that runs args on the host.
func (h host) command(args ...string) *exec.Cmd {
	// nsenter becomes the program, so that its process ID is the program's.
	enter := []string{"--net=/run/netns/" + string(h), "--mount=/run/mntns/" + string(h), "env", "--chdir=" + workDir}
	return exec.Command("nsenter", append(enter, args...)...)
}

// workDir is the folder of step 8.
var workDir, _ = os.Getwd()

// run runs args on the host and returns what it prints.
func (h host) run(args ...string) (string, error) {
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s: %w: %s", h, strings.Join(args, " "), err, lastLine(out))
	}
	return string(out), nil
}

// all runs several commands on the host, one per line.
func (h host) all(script string) error {
	for line := range strings.Lines(script) {
		if args := strings.Fields(line); len(args) > 0 {
			if _, err := h.run(args...); err != nil {
				return err
			}
		}
	}
	return nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// A process is a program that runs in the background on a host.
type process struct {
	cmd  *exec.Cmd
	name string
	log  string // the file with its output
	in   io.WriteCloser
	out  *bufio.Scanner
	done chan struct{} // closed when it has ended
}

// start starts args on the host. The output goes to a file in dir.
func (h host) start(dir, name string, args ...string) (*process, error) {
	p := &process{cmd: h.command(args...), name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	f, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd.Stdout, p.cmd.Stderr = f, f
	// Some programs start a worker in a session of its own, to which the kernel's scheduler
	// gives a share of its own (autogroup in sched(7)). So give all programs a session.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return p, p.begin()
}

// talk starts args on the host; lines are written to it and read from it.
func (h host) talk(args ...string) (*process, error) {
	p := &process{cmd: h.command(args...), name: args[1], done: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return p, p.begin()
}

func (p *process) begin() error {
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		if p.out == nil {
			p.cmd.Wait()
		} else {
			p.cmd.Process.Wait() // not p.cmd.Wait, which would close the pipe that is read from
		}
		close(p.done)
	}()
	return nil
}

// ask writes a line, and returns the line that the process answers.
func (p *process) ask(line string) (string, error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return "", fmt.Errorf("%s: %w", p.name, err)
	}
	if !p.out.Scan() {
		return "", fmt.Errorf("%s ended", p.name)
	}
	return p.out.Text(), nil
}

// stop ends the process with SIGINT or, if that takes too long, with SIGKILL.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// logged waits until the process has printed text.
func (p *process) logged(ctx context.Context, text string) error {
	return waitFor(ctx, 10*time.Second, fmt.Sprintf("%s says %q", p.name, text), func() bool {
		out, _ := os.ReadFile(p.log)
		return bytes.Contains(out, []byte(text))
	}, p)
}

// waitFor waits for a condition. It gives up when one of the processes ends.
func waitFor(ctx context.Context, limit time.Duration, what string, done func() bool, needs ...*process) error {
	for end := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		for _, p := range needs {
			select {
			case <-p.done:
				out, _ := os.ReadFile(p.log)
				return fmt.Errorf("%s ended: %s", p.name, lastLine(out))
			default:
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited too long: %s", what)
		}
	}
	return nil
}
