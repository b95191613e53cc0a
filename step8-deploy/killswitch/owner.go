package killswitch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// An owner is an nft(8) that keeps running, with a table of its own ("flags owner",
// Linux 5.12): nobody else can change it, a flush of all rules leaves it out, and it
// goes when its owner goes. That is when this program ends, however it ends: then
// there is nothing to read for it any more.
type owner struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // what it says
	gone  atomic.Bool
}

// patience bounds how long nft may take to answer. It answers at once, or not at all.
const patience = 10 * time.Second

// newOwner starts one, with the table that ruleset says.
func newOwner(ruleset string) (*owner, error) {
	cmd := exec.Command("nft", "--interactive")
	cmd.Env = append(cmd.Environ(), "TERM=dumb", "HOME=/nonexistent") // it would keep a history there
	// A Ctrl-C in the terminal is for this program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	o := &owner{cmd: cmd, stdin: stdin, lines: make(chan string, 16)}
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case o.lines <- s.Text():
			default: // nobody asked
			}
		}
		cmd.Wait()
		o.gone.Store(true)
		close(o.lines)
	}()
	if err := o.set(ruleset); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// ended tells whether somebody has ended it.
func (o *owner) ended() bool { return o.gone.Load() }

// set makes the table what ruleset says, all at once. Not for use by several
// goroutines.
func (o *owner) set(ruleset string) error {
	if o.ended() {
		return errors.New("nft has ended")
	}
	for len(o.lines) > 0 {
		<-o.lines
	}
	// One line is one transaction. What follows has nft answer, when it is done.
	text := fmt.Sprintf("add table %s { flags owner; }; delete table %[1]s; %s\ndescribe meta mark\n", liveTable, oneLine(ruleset))
	if _, err := io.WriteString(o.stdin, text); err != nil {
		return err
	}
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-o.lines:
			switch {
			case !ok:
				return errors.New("nft has ended")
			case strings.HasPrefix(line, "Error:"):
				return fmt.Errorf("nft: %.300s", strings.TrimPrefix(line, "Error: "))
			case strings.HasPrefix(line, "meta expression"):
				return nil
			}
		case <-limit:
			return fmt.Errorf("nft: no answer within %v", patience)
		}
	}
}

// oneLine writes a ruleset as nft takes it in a line.
func oneLine(ruleset string) string {
	var b strings.Builder
	for line := range strings.Lines(ruleset) {
		line = strings.TrimSpace(line)
		b.WriteString(line)
		if !strings.HasSuffix(line, "{") {
			b.WriteString(";")
		}
		b.WriteString(" ")
	}
	return b.String()
}

// close ends it, and with it goes the table.
func (o *owner) close() {
	o.stdin.Close()
	ended := time.AfterFunc(patience, func() { o.cmd.Process.Kill() })
	defer ended.Stop()
	for range o.lines {
	}
}
