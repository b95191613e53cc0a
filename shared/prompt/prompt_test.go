package prompt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// The test binary is also a program that asks for a secret and tells it.
func TestMain(m *testing.M) {
	ask := map[string]func(context.Context, string) (string, error){"old": Secret, "new": NewSecret}[os.Getenv("PROMPT_DO")]
	if ask == nil {
		os.Exit(m.Run())
	}
	os.Args = []string{"prog"}
	app.Main("", func(ctx context.Context) error {
		secret, err := ask(ctx, "Password")
		if err == nil {
			fmt.Printf("told %q\n", secret)
		}
		return err
	})
}

func program(do string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PROMPT_DO="+do, "GORACE=atexit_sleep_ms=0") // with -race, it ends 1 s late else
	return cmd
}

func TestWithoutTerminal(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"secret\n", "told \"secret\"\n"},
		{"secret", "told \"secret\"\n"},
		{"secret\r\n", "told \"secret\"\n"},
		{" two words \nmore\n", "told \" two words \"\n"},
		{"\n", "told \"\"\n"},
		{"", "prog: standard input ended without a line\n  Type it, or have a program write it there: ... <FILE\n"},
		{strings.Repeat("x", 4096) + "\n", fmt.Sprintf("told %q\n", strings.Repeat("x", 4096))},
		{strings.Repeat("x", 4097) + "\n", "prog: the line on standard input has more than 4096 bytes\n"},
	} {
		for _, do := range []string{"old", "new"} {
			cmd := program(do)
			cmd.Stdin = strings.NewReader(tt.in)
			out, _ := cmd.CombinedOutput()
			require.Equal(t, tt.want, string(out), "%.20q", tt.in)
		}
	}
	// Also from a file, and from nowhere.
	cmd := program("old")
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer file.Close()
	file.WriteString("secret\nmore")
	file.Seek(0, 0)
	cmd.Stdin = file
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "told \"secret\"\n", string(out))
	cmd = program("old") // /dev/null
	out, _ = cmd.CombinedOutput()
	require.Contains(t, string(out), "standard input ended without a line")
}

// It reads no more than its line: what is behind it is for the next program.
func TestReadsNoMoreThanALine(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	w.WriteString("secret\nmore")
	w.Close()
	cmd := program("old")
	cmd.Stdin = r
	require.NoError(t, cmd.Run())
	var rest bytes.Buffer
	rest.ReadFrom(r)
	require.Equal(t, "more", rest.String())
}

// A terminal is what a person sees and types at: a pseudo-terminal (pty(7)).
type terminal struct {
	t     *testing.T
	keys  *os.File // its other end: what is typed, and what is seen
	slave *os.File
	seen  string
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	tty := &terminal{t: t, keys: os.NewFile(uintptr(fd), "ptmx"), slave: slave}
	t.Cleanup(func() { tty.keys.Close(); slave.Close() })
	require.NoError(t, tty.keys.SetReadDeadline(time.Now().Add(20*time.Second)))
	return tty
}

// start starts the program at the terminal.
func (tty *terminal) start(do string) *exec.Cmd {
	tty.t.Helper()
	cmd := program(do)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.slave, tty.slave, tty.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(tty.t, cmd.Start())
	tty.t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// sees waits until the text is seen, and returns all that was seen up to it.
func (tty *terminal) sees(text string) string {
	tty.t.Helper()
	for b := make([]byte, 256); ; {
		if before, after, ok := strings.Cut(tty.seen, text); ok {
			tty.seen = after
			return before + text
		}
		n, err := tty.keys.Read(b)
		require.NoError(tty.t, err, "instead of %q it shows %q", text, tty.seen)
		tty.seen += string(b[:n])
	}
}

func (tty *terminal) types(text string) {
	tty.t.Helper()
	_, err := tty.keys.WriteString(text)
	require.NoError(tty.t, err)
}

func (tty *terminal) settings() unix.Termios {
	tty.t.Helper()
	s, err := unix.IoctlGetTermios(int(tty.slave.Fd()), unix.TCGETS)
	require.NoError(tty.t, err)
	return *s
}

func TestTerminal(t *testing.T) {
	tty := newTerminal(t)
	before := tty.settings()
	// The test would see what is typed, were it shown.
	tty.types("shown")
	tty.sees("shown")

	cmd := tty.start("old")
	tty.sees("Password: ")
	tty.types("secret\n")
	require.Equal(t, "\r\ntold \"secret\"", tty.sees("told \"secret\""), "what was typed before the question does not count")
	require.NoError(t, cmd.Wait())
	require.Equal(t, before, tty.settings())

	cmd = tty.start("new")
	tty.sees("Password: ")
	tty.types("secret\n")
	require.Equal(t, "\r\nRepeat it: ", tty.sees("it: "))
	tty.types("secret\n")
	require.Equal(t, "\r\ntold \"secret\"", tty.sees("told \"secret\""))
	require.NoError(t, cmd.Wait())
	require.Equal(t, before, tty.settings())

	cmd = tty.start("new")
	tty.sees("Password: ")
	tty.types("secret\n")
	tty.sees("Repeat it: ")
	tty.types("sekret\n")
	require.Equal(t, "\r\nprog: the two entries differ: nothing was changed", tty.sees("changed"))
	require.Error(t, cmd.Wait())
	require.Equal(t, before, tty.settings())
}

// Ctrl-C and Ctrl-D leave the terminal as it was.
func TestTerminalGivenUp(t *testing.T) {
	tty := newTerminal(t)
	before := tty.settings()
	for _, key := range []string{"\x03", "abc\x03", "\x04"} {
		for _, do := range []string{"old", "new"} {
			cmd := tty.start(do)
			tty.sees("Password: ")
			require.NotEqual(t, before, tty.settings(), "what is typed is hidden")
			tty.types(key)
			err := cmd.Wait()
			if key == "\x04" {
				require.Error(t, err)
				tty.sees("prog: standard input ended without a line")
			} else {
				require.NoError(t, err, "a program that was told to stop has not failed")
			}
			require.Equal(t, before, tty.settings())
		}
	}
}
