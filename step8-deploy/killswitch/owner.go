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

// An owner is an nft(8) process that keeps running, with a table of its own ("flags owner",
// Linux 5.12): nobody else can change the table, a flush of all rules leaves it alone, and it
// goes when its owner ends. nft ends when this program does, in whatever way, because its
// standard input is closed then.
type owner struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // nft's output
	gone  atomic.Bool
}

// patience bounds how long nft may take to answer. It answers at once, or not at all.
const patience = 10 * time.Second

// newOwner starts an nft that owns the table in ruleset.
func newOwner(ruleset string) (*owner, error) {
	cmd := exec.Command("nft", "--interactive")
	cmd.Env = append(cmd.Environ(), "TERM=dumb", "HOME=/nonexistent") // where nft would keep a history
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
			default: // nothing waits for this line
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

// ended reports whether nft has ended.
func (o *owner) ended() bool { return o.gone.Load() }

// set makes the table what ruleset says, in one transaction. It is not safe for concurrent
// use.
func (o *owner) set(ruleset string) error {
	if o.ended() {
		return errors.New("nft has ended")
	}
	for len(o.lines) > 0 {
		<-o.lines
	}
	// Each line is one transaction. nft prints the answer to the second line when it has done
	// the first.
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

// oneLine returns a ruleset as one line.
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

// close ends nft, and so removes the table.
func (o *owner) close() {
	o.stdin.Close()
	ended := time.AfterFunc(patience, func() { o.cmd.Process.Kill() })
	defer ended.Stop()
	for range o.lines {
	}
}
