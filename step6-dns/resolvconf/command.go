package resolvconf

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// commandLimit bounds a command. The services answer at once, or not at all.
const commandLimit = 10 * time.Second

// run runs a command with that input, and returns what it writes.
func run(input string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second // for children that keep the output open
	// A Ctrl-C in the terminal is for this program, which then needs the command to put
	// the host back.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", commandLimit)
	}
	if err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return "", fmt.Errorf("%s: %w: %.300s", strings.Join(command, " "), err, line)
	}
	return string(out), nil
}
