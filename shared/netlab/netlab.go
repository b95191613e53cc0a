// Package netlab gives tests and benchmarks the hosts of the lab: alice, bob,
// cafe, internet, server and web, each a network namespace, wired as drawn in
// shared/lab/topology.sh. Tests run programs there, capture, and open sockets.
//
// A test package that uses it has
//
//	func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server") }
//
// which builds the programs and runs the tests inside namespaces of their own: nothing on
// the machine changes, root is not needed, and any process that a test leaves running ends
// with the namespaces. With STEPVPN_SKIP_NETNS=1 in the environment, tests that call New
// are skipped.
package netlab

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	// skipVar is the variable that skips the tests that need namespaces.
	skipVar = "STEPVPN_SKIP_NETNS"
	// insideVar is the variable that tells the test binary that it runs inside the
	// namespaces, and in which folder the programs are.
	insideVar = "STEPVPN_NETLAB_PROGRAMS"
)

// programs is the folder of the programs that Main built; "" outside of the namespaces.
var programs string

// Main runs the tests of a package inside namespaces and exits. packages are the paths of
// the programs to build, relative to the test's folder; Program returns where each program
// is. They are built with -race if the test is.
func Main(m *testing.M, packages ...string) { MainInShards(m, 1, packages...) }

// MainInShards is Main for tests that take long because they wait: n test processes, each
// in namespaces of its own, share the tests and run at the same time. Their outputs are
// printed one after another. If the user has selected tests (with -run, for example), or
// asks for profiles and the like, there is one process, as with Main.
func MainInShards(m *testing.M, n int, packages ...string) {
	flag.Parse()
	if dir, ok := os.LookupEnv(insideVar); ok {
		programs = dir
		os.Unsetenv(insideVar) // it is meant for this process only
		os.Exit(m.Run())
	}
	if skip() || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	code, err := runInside(n, packages)
	if err != nil {
		fmt.Fprintf(os.Stderr, "netlab: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// Program returns the path of a program that Main built, by the last element of
// its package path.
func Program(name string) string { return filepath.Join(programs, name) }

func skip() bool { return os.Getenv(skipVar) == "1" }

// runInside builds the programs, runs this test binary again through
// shared/lab/enter, in up to n processes, and returns the highest exit code.
func runInside(n int, packages []string) (code int, err error) {
	lab, err := labDir()
	if err != nil {
		return 0, err
	}
	enter := filepath.Join(lab, "enter")
	// "enter" is killed when its parent ends. To the kernel, the parent is the thread that
	// started it, so this goroutine must keep its thread.
	runtime.LockOSThread()
	if out, err := exec.Command(enter, "true").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("these tests need network namespaces (%s=1 skips them), and there are none:\n%s",
			skipVar, bytes.TrimSpace(out))
	}

	dir, err := os.MkdirTemp("", "netlab")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if len(packages) > 0 {
		build := []string{"build", "-buildvcs=false", "-o", dir + "/"}
		if raceEnabled {
			build = append(build, "-race")
		}
		if out, err := exec.Command("go", append(build, packages...)...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("go build %s: %v\n%s", strings.Join(packages, " "), err, out)
		}
	}

	shards, err := shares(n)
	if err != nil {
		return 0, err
	}
	cmds := make([]*exec.Cmd, len(shards))
	later := make([]bytes.Buffer, len(shards)) // the outputs of all but the first one
	for i, args := range shards {
		cmd := exec.Command(enter, append([]string{os.Args[0]}, args...)...)
		cmd.Env = append(os.Environ(), insideVar+"="+dir)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if i > 0 {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, &later[i], &later[i]
		}
		cmds[i] = cmd
	}
	// After Ctrl-C, this process must live until the processes inside have ended, to
	// remove the programs.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	for _, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
	}
	go func() {
		<-stop
		for _, cmd := range cmds {
			cmd.Process.Signal(syscall.SIGTERM) // ends all processes inside
		}
	}()
	for i, cmd := range cmds {
		one, failed := exitCode(cmd.Wait())
		os.Stdout.Write(later[i].Bytes())
		code, err = max(code, one), errors.Join(err, failed)
	}
	return code, err
}

// exitCode returns the exit code that a shell would report for a command.
func exitCode(err error) (int, error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// shares returns the flags for each test process: those of this process, and, if there
// are several, that process's share of the tests.
func shares(n int) ([][]string, error) {
	flags, whole := testFlags(), true
	flag.Visit(func(f *flag.Flag) {
		switch strings.TrimPrefix(f.Name, "test.") {
		case "count", "paniconexit0", "short", "testlogfile", "timeout", "v":
		default:
			whole = false
		}
	})
	if n == 1 || !whole {
		return [][]string{flags}, nil
	}
	list, err := exec.Command(os.Args[0], "-test.list=^(Test|Fuzz|Example)").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w", err)
	}
	names := strings.Fields(string(list))
	n = max(1, min(n, len(names)))
	shards := make([][]string, n)
	for i := range shards {
		var mine []string
		for j := i; j < len(names); j += n {
			mine = append(mine, names[j])
		}
		shards[i] = append(slices.Clone(flags), "-test.run=^("+strings.Join(mine, "|")+")$")
	}
	return shards, nil
}

// testFlags returns the flags for the test binary inside the namespaces. They leave out
// the test log, so that "go test" does not cache the result: it does not know about the
// programs that are part of the test.
func testFlags() []string {
	var args []string
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(arg, "-test.testlogfile=") {
			args = append(args, arg)
		}
	}
	return args
}

// labDir finds the folder shared/lab above the working folder, which is where
// "go test" runs a test: the folder of its package.
func labDir() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		lab := filepath.Join(dir, "shared", "lab")
		if _, err := os.Stat(filepath.Join(lab, "enter")); err == nil {
			return lab, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder above %s has shared/lab", start)
		}
	}
}
