package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
)

// A terminal has a shell, which runs in a folder with a registry of alice, bob and bert.
type terminal struct {
	t    *testing.T
	tty  *os.File
	dir  string
	seen bytes.Buffer
}

// setups are the ways to start a shell, each with the first line to type, in which %s is the
// folder.
var setups = map[string]struct {
	args []string
	tell string
}{
	"bash":         {[]string{"bash", "--norc", "--noprofile", "-i"}, "bind 'set enable-bracketed-paste off'; source %s/_stepvpn; " + showWords},
	"zsh":          {[]string{"zsh", "-f", "-i"}, "bindkey -e; fpath=(%s $fpath); autoload -U compinit; compinit -u -D; " + showWords},
	"zsh, sourced": {[]string{"zsh", "-f", "-i"}, "bindkey -e; autoload -U compinit; compinit -u -D; source %s/_stepvpn; " + showWords},
	"fish":         {[]string{"fish", "--no-config", "-i"}, "source %s/_stepvpn; function show; printf '<%%s>' $argv; echo '|'; end"},
}

// showWords defines a shell function that prints the words of a line.
const showWords = `show() { printf '<%%s>' "$@"; echo '|'; }`

// openShell starts a shell with the completion script. Its 'stepvpn' is this test's binary.
func openShell(t *testing.T, setup string, script []byte) *terminal {
	shell := setups[setup]
	path, err := exec.LookPath(shell.args[0])
	require.NoError(t, err, "install it with shared/lab/setup.sh "+shell.args[0])
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "_stepvpn"), script, 0o600))
	program := fmt.Sprintf("#!/bin/sh\nSTEPVPN_TEST_PROGRAM=1 GORACE=atexit_sleep_ms=0 exec '%s' \"$@\"\n", os.Args[0])
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "stepvpn"), []byte(program), 0o700))
	registry := "alice " + aKey + "\nbob " + strings.ReplaceAll(aKey, "A", "B") + "\nbert " + strings.ReplaceAll(aKey, "A", "C") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "reg"), []byte(registry), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other.toml"), nil, 0o600))

	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { tty.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 250}))
	end, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer end.Close()
	cmd := exec.Command(path, shell.args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, end, end, end
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=dumb", "LC_ALL=C.UTF-8", "PS1=$ "}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	s := &terminal{t: t, tty: tty, dir: dir}
	s.types(fmt.Sprintf(shell.tell, dir) + "; echo rea''dy\r")
	s.waits("ready")
	return s
}

func (s *terminal) types(text string) {
	_, err := s.tty.WriteString(text)
	require.NoError(s.t, err)
}

// waits returns the first match of a pattern in the output that was not read yet.
func (s *terminal) waits(pattern string) string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	timeout := time.AfterFunc(time.Minute, func() { s.tty.Close() })
	defer timeout.Stop()
	for b := make([]byte, 4096); ; {
		if at := want.FindIndex(s.seen.Bytes()); at != nil {
			return string(s.seen.Next(at[1])[at[0]:])
		}
		n, err := s.tty.Read(b)
		require.NoError(s.t, err, "no %s in %q", pattern, s.seen.String())
		s.seen.Write(b[:n])
	}
}

// completes types a line and the Tab key, and returns the words of the completed line.
func (s *terminal) completes(line string) string {
	s.t.Helper()
	const home = "\x01"
	s.types(line + "\t" + home + "show \r")
	return strings.TrimSuffix(s.waits(`<stepvpn>.*\|`), "|")
}

func script(t *testing.T, setup string) []byte {
	out, code := stepvpn(t, t.TempDir(), "completion", setups[setup].args[0])
	require.Zero(t, code, out)
	return []byte(out)
}

func TestCompletion(t *testing.T) {
	for setup := range setups {
		t.Run(setup, func(t *testing.T) {
			s := openShell(t, setup, script(t, setup))
			for _, c := range []struct{ line, want string }{
				{"rot", "rotate-key"},
				{"clients rev", "clients revoke"},
				{"clients revoke -registry reg al", "clients revoke -registry reg alice"},
				{"clients passwd --registry=reg -v bo", "clients passwd --registry=reg -v bob"},
				{"init server -listen :5555 --fo", "init server -listen :5555 --force"},
				{"clients revoke -registry none al", "clients revoke -registry none al"},
				{"clients revoke -registry reg x", "clients revoke -registry reg x"},
				{"clients add -registry reg al", "clients add -registry reg al"},
				{"status -js", "status -json"},
				{"status --js", "status --json"},
				{"check oth", "check other.toml"},
				{"status -socket oth", "status -socket other.toml"},
				{"completion z", "completion zsh"},
				{"nonsense al", "nonsense al"},
			} {
				require.Equal(t, "<stepvpn><"+strings.ReplaceAll(c.want, " ", "><")+">", s.completes("stepvpn "+c.line), c.line)
			}
		})
	}
}

// Pressing the Tab key runs no command that is part of the line.
func TestCompletionRunsNothing(t *testing.T) {
	runs := func(setup string, script []byte) bool {
		s := openShell(t, setup, script)
		s.types("stepvpn status $(touch touched) -js\t")
		s.waits("-json")
		s.types("\x15\x0b")
		s.completes("stepvpn nothing") // by then, the shell has finished the line before
		_, err := os.Stat(filepath.Join(s.dir, "touched"))
		return err == nil
	}
	var theirs bytes.Buffer
	program := &cli.Command{Name: "stepvpn", EnableShellCompletion: true, Writer: &theirs}
	require.NoError(t, program.Run(context.Background(), []string{"stepvpn", "completion", "bash"}))
	require.True(t, runs("bash", append([]byte("_comp_initialize() { :; }\n"), theirs.Bytes()...)), "the detector sees it")
	for setup := range setups {
		require.False(t, runs(setup, script(t, setup)), setup)
	}
}
