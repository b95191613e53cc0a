package netlab

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Lab is the six hosts. It ends with its test.
type Lab struct {
	Alice, Bob, Cafe, Internet, Server, Web *Host
	Port                                    uint16 // the port that the demos' servers listen on
}

// inUse is true while a Lab exists. There can be only one, as the names of the namespaces
// are fixed.
var inUse atomic.Bool

// New builds the lab. At the end of the test, every process in it is killed, and the
// namespaces are deleted. There can be only one lab at a time, so tests that use it must
// not run in parallel.
func New(t testing.TB) *Lab {
	t.Helper()
	if skip() {
		t.Skipf("needs network namespaces, and %s=1 says to skip", skipVar)
	}
	if programs == "" {
		t.Fatal("netlab: the package's TestMain must call netlab.Main")
	}
	if !inUse.CompareAndSwap(false, true) {
		t.Fatal("netlab: there is a lab already; tests that use one cannot run in parallel")
	}
	t.Cleanup(func() { inUse.Store(false) })
	dir, err := labDir()
	if err != nil {
		t.Fatal("netlab: ", err)
	}
	script := filepath.Join(dir, "topology.sh")

	l := &Lab{}
	t.Cleanup(func() {
		l.endProcesses(t)
		if out, err := exec.Command(script, "down").CombinedOutput(); err != nil {
			t.Errorf("netlab: topology.sh down: %v\n%s", err, out)
		}
	})
	for _, do := range []string{"down", "up"} { // down: a test that crashed may have left something
		if out, err := exec.Command(script, do).CombinedOutput(); err != nil {
			t.Fatalf("netlab: topology.sh %s: %v\n%s", do, err, out)
		}
	}
	out, err := exec.Command(script, "show").Output()
	if err != nil {
		t.Fatalf("netlab: topology.sh show: %v", err)
	}
	if err := l.parse(t, out); err != nil {
		t.Fatalf("netlab: topology.sh show: %v", err)
	}
	return l
}

// parse reads the NAME=value lines of "topology.sh show".
func (l *Lab) parse(t testing.TB, show []byte) error {
	values := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(show)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		values[name] = value
	}
	port, err := strconv.ParseUint(values["PORT"], 10, 16)
	if err != nil {
		return err
	}
	l.Port = uint16(port)
	for name, host := range map[string]**Host{
		"alice": &l.Alice, "bob": &l.Bob, "cafe": &l.Cafe,
		"internet": &l.Internet, "server": &l.Server, "web": &l.Web,
	} {
		v4, err4 := netip.ParseAddr(values[strings.ToUpper(name)+"4"])
		v6, err6 := netip.ParseAddr(values[strings.ToUpper(name)+"6"])
		if err4 != nil || err6 != nil {
			return fmt.Errorf("no addresses of %s", name)
		}
		*host = &Host{Name: name, V4: v4, V6: v6, t: t}
	}
	return nil
}

func (l *Lab) hosts() []*Host {
	return []*Host{l.Alice, l.Bob, l.Cafe, l.Internet, l.Server, l.Web}
}

// endProcesses kills every process in the hosts, including those that a test's programs
// have started.
func (l *Lab) endProcesses(t testing.TB) {
	if l.Web == nil {
		return // it was never built
	}
	Eventually(t, 10*time.Second, "every process of the lab has ended", func() bool {
		ended := true
		for _, h := range l.hosts() {
			out, err := exec.Command("ip", "netns", "pids", h.Name).Output()
			if err != nil {
				continue // the namespace is gone, and so are its processes
			}
			for _, field := range strings.Fields(string(out)) {
				if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
					ended = false
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
		return ended
	})
}

// Eventually waits until done returns true. If that takes longer than limit, the test
// fails with what, which names the condition.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %s", limit, what)
		}
	}
}
