package netlab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
)

func TestMain(m *testing.M) { Main(m, "../lab/web", "../lab/dns") }

func TestEveryHostReachesEveryOther(t *testing.T) {
	lab := New(t)
	for _, from := range lab.hosts() {
		for _, to := range lab.hosts() {
			from.Run(t, "ping", "-c", "1", "-W", "5", to.V4.String())
			from.Run(t, "ping", "-c", "1", "-W", "5", to.V6.String())
		}
	}
	route := lab.Alice.Run(t, "traceroute", "-n", "-q", "1", lab.Web.V4.String())
	require.Contains(t, route, " 1  198.51.100.1 ")
	require.Contains(t, route, " 2  192.0.2.1 ")
	require.Contains(t, route, " 3  203.0.113.80 ")
}

// namespace identifies the network namespace of the calling thread.
func namespace(t *testing.T) string {
	link, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	return link
}

func TestDoIsInsideAndComesBack(t *testing.T) {
	lab := New(t)
	runtime.LockOSThread() // to look at one thread, before and after
	defer runtime.UnlockOSThread()
	home := namespace(t)
	lab.Alice.Do(func() {
		alice := namespace(t)
		require.NotEqual(t, home, alice)
		lab.Bob.Do(func() { require.NotEqual(t, alice, namespace(t)) })
		require.Equal(t, alice, namespace(t))
		_, err := net.InterfaceByName("eth0")
		require.NoError(t, err)
	})
	require.Equal(t, home, namespace(t))

	require.Panics(t, func() { lab.Alice.Do(func() { panic("inside") }) })
	require.Equal(t, home, namespace(t), "also after a panic")

	// The tests run in a namespace that has nothing but lo, so not in the machine's.
	links, err := net.Interfaces()
	require.NoError(t, err)
	require.Len(t, links, 1)
}

// If the function that runs on a host fails or panics, so does the test.
func TestDoEndsAsItsFunctionDoes(t *testing.T) {
	lab := New(t)
	var panicked any
	func() {
		defer func() { panicked = recover() }()
		lab.Bob.Do(func() { panic("inside") })
	}()
	require.Contains(t, panicked, "on host bob: inside\n")
	require.Contains(t, panicked, "TestDoEndsAsItsFunctionDoes", "the stack")

	after := false
	require.Equal(t, "over", failure(t, func(t testing.TB) {
		lab.Bob.Do(func() { t.Fatal("over") })
		after = true
	}))
	require.False(t, after)

	// A file by its relative name is where it is outside.
	_, err := os.Stat("netlab_test.go")
	require.NoError(t, err)
	lab.Bob.Do(func() { _, err = os.Stat("netlab_test.go") })
	require.NoError(t, err)
	require.Contains(t, lab.Bob.Run(t, "ls"), "netlab_test.go")

	gone := &Host{Name: "carol", t: &failing{TB: t}}
	require.Contains(t, failure(t, func(fake testing.TB) {
		gone.t = fake
		gone.Do(func() {})
	}), "entering carol: /run/netns/carol: no such file or directory")
	_, err = gone.Try("true")
	require.ErrorContains(t, err, "/run/netns/carol: no such file or directory")
}

func TestASocketStaysWhereItWasOpened(t *testing.T) {
	lab := New(t)
	var l net.Listener
	var err error
	lab.Web.Do(func() { l, err = net.Listen("tcp", ":7000") })
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			fmt.Fprintln(c, "you are", c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	got := lab.Bob.Run(t, "socat", "-u", fmt.Sprintf("TCP:[%s]:7000", lab.Web.V6), "-")
	require.Equal(t, "you are "+lab.Bob.V6.String()+"\n", got)
}

func TestProcessAndItsLog(t *testing.T) {
	lab := New(t)
	p := lab.Alice.Start(t, "sh", "-c", "trap 'echo bye >&2; exit 3' INT; echo hello; while :; do sleep 0.01; done")
	p.WaitLog(t, "hello")
	require.False(t, p.Ended())
	p.Interrupt()
	require.Equal(t, 3, p.Wait(t))
	require.Equal(t, "hello\nbye\n", p.Log())

	p = lab.Alice.Start(t, "sleep", "1000")
	p.Kill()
	require.Equal(t, 128+9, p.Wait(t))

	_, err := lab.Alice.Try("false")
	require.Error(t, err)
	_, err = lab.Alice.Try("no-such-program")
	require.ErrorContains(t, err, "setup.sh")
}

// running counts the processes here that were started as this command.
func running(t *testing.T, command string) (n int) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may have ended
		if strings.ReplaceAll(string(line), "\x00", " ") == command+" " {
			n++
		}
	}
	return n
}

func TestNothingOutlivesItsTest(t *testing.T) {
	t.Run("a test", func(t *testing.T) {
		lab := New(t)
		// One in the foreground, one in the background, and one that has left
		// the session and whose parent is gone.
		lab.Alice.Start(t, "sh", "-c", "setsid sh -c 'sleep 4711 & exit' & sleep 4711 & echo up; exec sleep 4711").WaitLog(t, "up")
		Eventually(t, waitLimit, "three sleep", func() bool { return running(t, "sleep 4711") == 3 })
	})
	require.Zero(t, running(t, "sleep 4711"))
	left, err := os.ReadDir("/run/netns")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCaptureIsCompleteWhenItStops(t *testing.T) {
	lab := New(t)
	c := lab.Cafe.Capture(t, "br0", "icmp")
	lab.Alice.Run(t, "ping", "-q", "-f", "-c", "500", lab.Web.V4.String())
	lines := c.Stop()
	require.Equal(t, 1000, len(lines))
	require.Equal(t, "IP 198.51.100.10 > 203.0.113.80: ICMP echo request,", strings.Split(lines[0], " id")[0])
	require.Equal(t, 500, len(c.Read("icmp[icmptype] = icmp-echo")))
}

func TestTheSite(t *testing.T) {
	lab := New(t)
	s := lab.Web.ServeSite(t)
	url := "http://" + lab.Web.V4.String()
	curl := func(h *Host, args ...string) string {
		return h.Run(t, "curl", append([]string{"-sS", "--max-time", "30"}, args...)...)
	}
	require.Equal(t, lab.Alice.V4.String()+"\n", curl(lab.Alice, url+"/whoami"))
	require.Equal(t, lab.Bob.V6.String()+"\n", curl(lab.Bob, "http://["+lab.Web.V6.String()+"]/whoami"))
	require.True(t, s.Visited(lab.Bob.V6.String()))
	require.False(t, s.Visited(lab.Alice.V4.String()))
	require.Equal(t, []string{lab.Alice.V4.String() + " GET /whoami", lab.Bob.V6.String() + " GET /whoami"}, s.Visits())
	require.Equal(t, site.Hash(100)+"\n", curl(lab.Alice, url+"/file.sha256?bytes=100"))

	// The program serves the same.
	p := lab.Server.Start(t, Program("web"))
	p.WaitLog(t, "serving")
	require.Equal(t, lab.Alice.V4.String()+"\n", curl(lab.Alice, "http://"+lab.Server.V4.String()+"/whoami"))
	p.WaitLog(t, `from=198.51.100.10 request="GET /whoami"`)
	p.Interrupt()
	require.Zero(t, p.Wait(t))
}

func TestKernelSettings(t *testing.T) {
	lab := New(t)
	require.Equal(t, "0", lab.Server.Read(t, "ipv4/ip_forward"))
	require.Equal(t, "1", lab.Cafe.Read(t, "ipv4/ip_forward"))
	lab.Server.Write(t, "ipv4/ip_forward", "1")
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))
	require.Equal(t, "0", lab.Web.Read(t, "ipv4/ip_forward"))
}

// A failing stands for a test and notes how it failed.
type failing struct {
	testing.TB
	why string
}

func (f *failing) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }
func (f *failing) Fatalf(format string, args ...any) {
	f.why = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure runs f with a test that may fail, and returns why it did.
func failure(t *testing.T, f func(t testing.TB)) string {
	fake := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(fake)
	}()
	<-done
	return fake.why
}

func TestFailuresSayWhy(t *testing.T) {
	lab := New(t)
	require.Contains(t, failure(t, func(t testing.TB) { New(t) }), "there is a lab already")
	require.Contains(t, failure(t, func(t testing.TB) { lab.Bob.Run(t, "sh", "-c", "echo broken; exit 1") }), "broken")
	p := lab.Bob.Start(t, "echo", "something else")
	require.Contains(t, failure(t, func(t testing.TB) { p.WaitLog(t, "ready") }), "something else")
	require.Contains(t, failure(t, func(t testing.TB) {
		Eventually(t, 1, "pigs fly", func() bool { return false })
	}), "pigs fly")
}

// TestChild does nothing, except when TestMainPassesOn... asks it to.
func TestChild(t *testing.T) {
	switch os.Getenv("NETLAB_TEST_CHILD") {
	case "fail":
		t.Fatal("told to fail")
	case "new":
		New(t)
	}
}

// This test program runs once more, from outside to inside, in a namespace of
// its own below the one of this test.
func TestMainPassesOnFlagsAndExitCode(t *testing.T) {
	child := func(do string, env ...string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
		cmd.Env = append(append(os.Environ(), "NETLAB_TEST_CHILD="+do), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := child("new")
	require.NoError(t, err, out)
	require.Contains(t, out, "--- PASS: TestChild")
	require.NotContains(t, out, "TestTheSite")

	out, err = child("fail")
	require.ErrorContains(t, err, "exit status 1")
	require.Contains(t, out, "told to fail")

	out, err = child("new", skipVar+"=1")
	require.NoError(t, err, out)
	require.Contains(t, out, "--- SKIP: TestChild")
	require.Contains(t, out, skipVar)
}

// A package's tests in two processes: all of them run, at the same time, the output
// is whole and in one piece, and what fails in either process fails the package.
func TestMainInShards(t *testing.T) {
	run := func(fail string, flags ...string) (string, error) {
		args := append([]string{"test", "-count=1"}, flags...)
		if raceEnabled {
			args = append(args, "-race") // else everything is built once more
		}
		cmd := exec.Command("go", append(args, "./testdata/shards")...)
		cmd.Env = append(os.Environ(), "NETLAB_TEST_DIR="+t.TempDir(), "NETLAB_TEST_FAIL="+fail)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	result := regexp.MustCompile(`(?m)^--- (\w+: \w+)`)
	out, err := run("third", "-v")
	require.Error(t, err, out)
	require.Contains(t, out, "third was told to fail")
	var got []string
	for _, line := range result.FindAllStringSubmatch(out, -1) {
		got = append(got, line[1])
	}
	require.Equal(t, []string{"PASS: TestFirst", "FAIL: TestThird", "PASS: TestSecond"}, got, out)

	out, err = run("second", "-json")
	require.Error(t, err, out)
	require.Contains(t, out, "second was told to fail")
	require.Equal(t, 2, strings.Count(out, `"Action":"pass","Package"`), out)
	require.Equal(t, 2, strings.Count(out, `"Action":"fail","Package"`), "the test and the package: %s", out)

	out, err = run("")
	require.NoError(t, err, out)
	// A run of chosen tests is one process.
	out, err = run("", "-run", "^TestNone$")
	require.NoError(t, err, out)
	require.Contains(t, out, "no tests to run")
}
