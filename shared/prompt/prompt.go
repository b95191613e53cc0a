// Package prompt asks the user of a program for a secret, such as a password. Linux only.
package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// maxLine bounds the line that is read, in bytes.
const maxLine = 4096

// Secret asks for an existing secret. On a terminal, it prints the question to standard
// error and does not show what is typed; afterwards it restores the terminal, also if a
// signal other than SIGKILL ends the program. Without a terminal, it reads one line from
// standard input. The line may have up to 4096 bytes.
func Secret(ctx context.Context, question string) (string, error) {
	return ask(ctx, question+": ")
}

// NewSecret asks for a secret that is being chosen. On a terminal it asks twice, because
// text that is not shown is easily mistyped.
func NewSecret(ctx context.Context, question string) (string, error) {
	first, err := ask(ctx, question+": ")
	if err != nil || !isTerminal() {
		return first, err
	}
	again, err := ask(ctx, "Repeat it: ")
	if err == nil && first != again {
		err = errors.New("the two entries differ: nothing was changed")
	}
	return first, err
}

// stdin is the file descriptor of standard input.
var stdin = int(os.Stdin.Fd())

func isTerminal() bool {
	_, err := unix.IoctlGetTermios(stdin, unix.TCGETS)
	return err == nil
}

// ask reads one line, which is not shown while it is typed.
func ask(ctx context.Context, question string) (string, error) {
	before, err := unix.IoctlGetTermios(stdin, unix.TCGETS)
	if err != nil { // no terminal
		return readLine(ctx)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	// TCSETSF also discards what was typed before the echo was off.
	if err := unix.IoctlSetTermios(stdin, unix.TCSETSF, &hidden); err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	defer func() {
		fmt.Fprintln(os.Stderr) // the Enter was not shown either
		unix.IoctlSetTermios(stdin, unix.TCSETSF, before)
	}()
	fmt.Fprint(os.Stderr, question)
	return readLine(ctx)
}

// readLine reads one line from standard input, and nothing after it.
func readLine(ctx context.Context) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) <= maxLine; {
		n, err := read(ctx, b)
		switch {
		case err != nil:
			return "", err
		case n == 0 && len(line) == 0:
			return "", app.Hint(errors.New("standard input ended without a line"), "Type it, or have a program write it there: ... <FILE")
		case n == 0 || b[0] == '\n':
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("the line on standard input has more than %d bytes", maxLine)
}

// read reads from standard input until ctx ends.
func read(ctx context.Context, b []byte) (int, error) {
	for {
		const pause = 100 // milliseconds between looks at ctx
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(stdin), Events: unix.POLLIN}}, pause)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if ready > 0 {
			var n int
			n, err = unix.Read(stdin, b)
			if err == nil {
				return n, nil
			}
		}
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return 0, fmt.Errorf("read standard input: %w", err)
		}
	}
}
