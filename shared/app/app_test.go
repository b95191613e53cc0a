package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test program is also the program under test: with this variable it calls
// Main with a run of that name.
const programVar = "APP_TEST_PROGRAM"

var programs = map[string]func(context.Context) error{
	"fine":  func(context.Context) error { return nil },
	"fails": func(context.Context) error { return errors.New("it broke") },
	"hints": func(context.Context) error {
		return fmt.Errorf("outer: %w", Hint(errors.New("it broke"), "mend it with %s", "glue"))
	},
	"misused": func(context.Context) error { return Usage("-x %d: too much", 7) },
	"waits": func(ctx context.Context) error {
		defer ReportStats(func() string { return "stats" })()
		fmt.Fprintln(os.Stderr, "ready")
		<-ctx.Done()
		return fmt.Errorf("waiting: %w", context.Cause(ctx))
	},
	"hangs": func(ctx context.Context) error {
		fmt.Fprintln(os.Stderr, "ready")
		<-ctx.Done()
		fmt.Fprintln(os.Stderr, "cleaning up")
		select {}
	},
}

func TestMain(m *testing.M) {
	if os.Getenv(programVar) == "commands" {
		commands()
	}
	if run, ok := programs[os.Getenv(programVar)]; ok {
		flag.CommandLine = flag.NewFlagSet("", flag.ContinueOnError)
		flag.Int("number", 7, "a `number`")
		Prefixes("addr", "10.8.0.1/24", "`addresses`")
		Main("A program for tests.", run)
	}
	os.Exit(m.Run())
}

func program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Args[0] = "prog"
	cmd.Env = append(os.Environ(), programVar+"="+name, "GORACE=atexit_sleep_ms=0") // with -race, it ends 1 s late else
	return cmd
}

func TestExitCodesAndMessages(t *testing.T) {
	for _, c := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"fine", "", 0, ""},
		{"fine", "-v -number 8 -addr 10.0.0.1/8,fd00::1/64", 0, ""},
		{"fails", "", 1, "prog: it broke\n"},
		{"hints", "", 1, "prog: outer: it broke\n  mend it with glue\n"},
		{"misused", "", 2, "prog: -x 7: too much\n  'prog -help' lists the flags.\n"},
		{"fine", "-nonsense", 2, "prog: flag provided but not defined: -nonsense\n  'prog -help' lists the flags.\n"},
		{"fine", "-number x", 2, "prog: invalid value \"x\" for flag -number: parse error\n  'prog -help' lists the flags.\n"},
		{"fine", "extra", 2, "prog: unexpected argument \"extra\": every setting is a flag\n  'prog -help' lists the flags.\n"},
	} {
		cmd := program(c.name, strings.Fields(c.args)...)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, c.want, string(out), "%s %s", c.name, c.args)
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%s %s", c.name, c.args)
	}
	out, err := program("fine", "-help").CombinedOutput()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(out), "A program for tests.\n\nUsage: prog [flags]\n\n"), "%s", out)
	require.Contains(t, string(out), "-number number")
	require.Contains(t, string(out), "(default 10.8.0.1/24)")
}

// lines starts a program and returns its output, line by line.
func lines(t *testing.T, cmd *exec.Cmd) (next func() string) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	w.Close()
	t.Cleanup(func() { r.Close(); cmd.Process.Kill() })
	r.SetReadDeadline(time.Now().Add(20 * time.Second))
	return func() string {
		var line []byte
		for b := make([]byte, 1); ; line = append(line, b[0]) {
			if _, err := r.Read(b); err != nil || b[0] == '\n' {
				return string(line)
			}
		}
	}
}

func TestSignals(t *testing.T) {
	cmd := program("waits")
	next := lines(t, cmd)
	require.Equal(t, "ready", next())
	cmd.Process.Signal(syscall.SIGUSR1)
	require.Equal(t, "prog: stats", next())
	cmd.Process.Signal(syscall.SIGINT)
	require.Equal(t, "prog: stats", next())
	require.NoError(t, cmd.Wait(), "a program that was told to stop has not failed")

	cmd = program("hangs")
	next = lines(t, cmd)
	require.Equal(t, "ready", next())
	cmd.Process.Signal(syscall.SIGTERM)
	require.Equal(t, "cleaning up", next())
	// Until the handler is gone a signal has no effect: send it again.
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	for ended := false; !ended; {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	require.Equal(t, syscall.SIGTERM, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

func TestPrefixes(t *testing.T) {
	var l prefixList
	require.NoError(t, l.Set("10.8.0.1/24, fd00:8::1/64"))
	require.Equal(t, prefixList{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}, l)
	require.Equal(t, "10.8.0.1/24,fd00:8::1/64", l.String())
	require.NoError(t, l.Set(""))
	require.Empty(t, l)
	for _, bad := range []string{"10.8.0.1", "10.8.0.1/33", "x", ",", "10.8.0.1/24,", strings.Repeat("10.8.0.1/24,", 16) + "10.8.0.1/24"} {
		require.Error(t, l.Set(bad), bad)
	}
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "né\n\tx \ufffd[31mred\ufffd]0;\ufffd \ufffdr", Printable("né\n\tx \x1b[31mred\u009b]0;\a \u202er"))
}

func TestHintOfNilIsNil(t *testing.T) { require.NoError(t, Hint(nil, "x")) }

func TestAddrPorts(t *testing.T) {
	l := addrPortList{port: 53}
	require.NoError(t, l.Set("1.1.1.1, [fd00::1]:5353,fd00::2,[fd00::3]"))
	require.Equal(t, "1.1.1.1:53,[fd00::1]:5353,[fd00::2]:53,[fd00::3]:53", l.String())
	for _, bad := range []string{"", "x", "1.1.1.1,", "1.1.1.1:x", "1.1.1.1:0", "1.1.1", strings.Repeat("1.1.1.1,", 8) + "1.1.1.1"} {
		require.Error(t, l.Set(bad), bad)
	}
	require.EqualError(t, l.Set("one.example"), `"one.example" is not an address, such as 1.1.1.1 or [2606:4700:4700::1111]:53`)
}

func TestStrings(t *testing.T) {
	l := stringList{check: func(s string) error {
		if s == "bad" {
			return errors.New("it is bad")
		}
		return nil
	}}
	require.NoError(t, l.Set("a, b"))
	require.Equal(t, []string{"a", "b"}, l.words)
	require.EqualError(t, l.Set("a,bad"), "it is bad")
	require.NoError(t, l.Set(""))
	require.Empty(t, l.words)
}

func TestUndo(t *testing.T) {
	var u Undo
	var order []int
	step := func(n int, err error) func() error {
		return func() error { order = append(order, n); return err }
	}
	err1, err2 := errors.New("first"), errors.New("second")
	require.NoError(t, u.Add(step(1, nil), nil))
	require.NoError(t, u.Add(step(2, err2), nil))
	require.Equal(t, err1, u.Add(nil, err1), "a step that failed has no way back")
	require.NoError(t, u.Add(step(3, nil), nil))
	err := err1
	u.All(&err)
	require.Equal(t, []int{3, 2, 1}, order)
	require.ErrorIs(t, err, err1)
	require.ErrorIs(t, err, err2)
	u.All(&err)
	require.Len(t, order, 3, "once is enough")

	err = nil
	u.All(&err)
	require.NoError(t, err)
}

func TestClosest(t *testing.T) {
	names := []string{"mtu", "routes", "route", "metrics", "v"}
	for mistyped, want := range map[string]string{
		"MTU": "mtu", "mtus": "mtu", "routs": "routes", "route": "route", "metric": "metrics", "dns": "", "x": "", "": "",
		"metrics" + strings.Repeat("x", 60): "",
	} {
		require.Equal(t, want, Closest(mistyped, names), mistyped)
	}
}

func TestDistance(t *testing.T) {
	require.Equal(t, 3, Distance("kitten", "sitting"))
	require.Equal(t, 4, Distance("", "four"))
	require.Equal(t, 2, Distance("ab", "ba"))
}
