// Package command runs a program of the host, such as nft(8), that is expected to answer
// at once.
package command

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// limit bounds how long a program may take.
const limit = 10 * time.Second

// Run runs a program with input as its standard input, and returns what it writes to its
// standard output. The error contains the first line of the program's output, at most 300
// bytes of it, but not the command; it is exec.ErrNotFound if the program does not exist.
// A program that takes more than 10 s is killed. Run may be called from any goroutine.
func Run(input, name string, args ...string) (string, error) {
	return run(limit, input, name, args...)
}

func run(limit time.Duration, input, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &said
	cmd.WaitDelay = time.Second // for children that keep the output open
	// A Ctrl-C in the terminal is meant for this program only, which needs the other one
	// to restore the host.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case cmd.Process == nil: // it did not start
		return "", err
	case ctx.Err() != nil:
		return "", fmt.Errorf("no answer within %v", limit)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(append(said.Bytes(), out.Bytes()...)), []byte("\n"))
	return "", fmt.Errorf("%w: %.300s", err, line)
}
