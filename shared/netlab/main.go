// Package netlab is the lab for tests and benchmarks in Go: six hosts in network
// namespaces, joined as shared/lab/topology.sh draws them.
//
// A package with such tests has
//
//	func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server") }
//
// which starts the test program again inside private namespaces, where it is
// root, and where nothing that it does touches the machine. A test gets its hosts
// from New. There is one lab at a time, so these tests do not run in parallel.
package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

const (
	insideVar = "STEPVPN_NETLAB"     // set inside, to the folder of the built programs
	skipVar   = "STEPVPN_SKIP_NETNS" // "1" skips the tests that need namespaces
)

// stamp is a file in the test's folder that is newer than the end of each run. A
// test that has read it is not cached, since go test would not notice when a
// program has changed.
const stamp = ".netlab"

// Main runs the tests of a package inside private namespaces and exits. Before,
// it builds the programs, which are paths of main packages as go build takes
// them; Program finds them. Where namespaces cannot be had, it says what to do
// and the tests have failed, unless STEPVPN_SKIP_NETNS is 1: then each test that
// calls New is skipped.
func Main(m *testing.M, programs ...string) {
	if os.Getenv(insideVar) != "" || skip() {
		os.Exit(m.Run())
	}
	code, err := enter(programs)
	if err != nil {
		fmt.Fprintf(os.Stderr, "netlab: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func skip() bool { return os.Getenv(skipVar) == "1" }

// Program returns the path of a program that Main has built, by its last name.
func Program(name string) string { return filepath.Join(os.Getenv(insideVar), name) }

// labFile returns the path of a file of shared/lab.
func labFile(name string) string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "lab", name)
}

// enter builds the programs and runs this test program again, inside.
func enter(programs []string) (code int, err error) {
	bin, err := os.MkdirTemp("", "netlab")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	if len(programs) > 0 {
		args := []string{"build", "-o", bin + string(filepath.Separator)}
		if raceEnabled {
			args = append(args, "-race")
		}
		build := exec.Command("go", append(args, programs...)...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return 0, fmt.Errorf("building %v: %w", programs, err)
		}
	}
	defer os.WriteFile(stamp, nil, 0o644) // where the folder is read-only, nothing is cached either

	// The terminal sends Ctrl-C to both; this side waits for the other.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
	runtime.LockOSThread() // Pdeathsig is about the thread
	inside := exec.Command(labFile("enter"), append([]string{os.Args[0]}, os.Args[1:]...)...)
	inside.Env = append(os.Environ(), insideVar+"="+bin)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = inside.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
