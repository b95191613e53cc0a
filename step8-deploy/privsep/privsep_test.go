package privsep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/shared/netlab"
)

const limit = 20 * time.Second

// childVar is the variable that makes the test binary a worker, and says of which kind.
const childVar = "STEPVPN_TEST_WORKER"

func TestMain(m *testing.M) {
	if kind, ok := os.LookupEnv(childVar); ok {
		worker(kind)
	}
	netlab.Main(m)
}

// worker prints what it is allowed to do, and ends as its kind says.
func worker(kind string) {
	conn, err := Parent()
	if err != nil {
		panic(err)
	}
	if err := Hide(); err != nil {
		panic(err)
	}
	a := NewAsker(conn, func(string, json.RawMessage) {})
	status, _ := os.ReadFile("/proc/self/status")
	_, err = unix.Open("/etc/shadow", unix.O_RDONLY, 0)
	facts := map[string]string{"status": string(status), "shadow": fmt.Sprint(err)}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	facts["mark"] = fmt.Sprint(errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 1)))
	session, _ := unix.Getsid(0)
	facts["session"] = fmt.Sprint(session == os.Getpid())
	for _, fd := range []int{1, 2} {
		flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		facts[fmt.Sprint("access ", fd)] = fmt.Sprint(flags & unix.O_ACCMODE)
	}
	if _, err := a.Ask("facts", facts, nil); err != nil {
		panic(err)
	}
	switch kind {
	case "ends":
		os.Exit(0)
	case "fails":
		os.Exit(1)
	case "crashes":
		panic("crash")
	}
	<-a.Gone()
	os.Exit(0)
}

// start starts a worker, and returns its output.
func start(t *testing.T, kind string) (w *Worker, facts map[string]string) {
	t.Helper()
	t.Setenv(childVar, kind)
	w, err := Start("no-such-account", 22505)
	require.NoError(t, err)
	told := make(chan bool)
	go Serve(w.Conn, map[string]Handler{"facts": func(parse func(any) error) (r Result, err error) {
		defer close(told)
		return r, parse(&facts)
	}})
	select {
	case <-told:
	case <-time.After(limit):
		require.FailNow(t, "it tells nothing")
	}
	return w, facts
}

// A worker has a user of its own, no privileges, and no way to get them.
func TestWorkerMayDoNothing(t *testing.T) {
	w, facts := start(t, "stays")
	field := func(name string) string {
		for line := range strings.Lines(facts["status"]) {
			if key, value, _ := strings.Cut(line, ":"); key == name {
				return strings.Join(strings.Fields(value), " ")
			}
		}
		return ""
	}
	if mapped("/proc/self/uid_map", 22505) { // otherwise an ordinary user runs this, and there is only one user
		require.Equal(t, "22505 22505 22505 22505", field("Uid"))
		require.Equal(t, "22505 22505 22505 22505", field("Gid"))
		require.Empty(t, field("Groups"))
	}
	require.Equal(t, "1", field("NoNewPrivs"))
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		require.Equal(t, "0000000000000000", field(set), set)
	}
	require.Contains(t, facts["shadow"], "permission denied")
	require.Contains(t, facts["mark"], "operation not permitted")
	// The process itself still has its privileges.
	own, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	require.NotContains(t, string(own), "CapEff:\t0000000000000000")

	// The worker ends when this side closes the Conn.
	w.Conn.Close()
	select {
	case <-w.Done():
	case <-time.After(limit):
		require.FailNow(t, "it does not end")
	}
}

// A worker may write to the operator's terminal, but not read from it, nor type into it.
func TestWorkerAndTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer master.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer terminal.Close()
	defer func(out, err *os.File) { os.Stdout, os.Stderr = out, err }(os.Stdout, os.Stderr)
	os.Stdout, os.Stderr = terminal, terminal
	w, facts := start(t, "ends")
	<-w.Done()
	require.Equal(t, "true", facts["session"])
	require.Equal(t, fmt.Sprint(unix.O_WRONLY), facts["access 1"])
	require.Equal(t, fmt.Sprint(unix.O_WRONLY), facts["access 2"])
}

func TestHowAWorkerEnds(t *testing.T) {
	for kind, crashed := range map[string]bool{"ends": false, "fails": false, "crashes": true, "stays": true} {
		w, _ := start(t, kind)
		if kind == "stays" {
			w.Signal(unix.SIGKILL)
		}
		<-w.Done()
		err, was := w.Ended()
		require.Equal(t, crashed, was, kind)
		require.Equal(t, kind == "ends", err == nil, "%s: %v", kind, err)
	}
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (a, z *Conn) {
	t.Helper()
	a, f, err := Pair()
	require.NoError(t, err)
	z, err = From(f)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); z.Close() })
	return a, z
}

// open counts this process's descriptors of one kind, as others come and go.
func open(t *testing.T, what string) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, f := range list {
		if link, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.Contains(link, what) {
			n++
		}
	}
	return n
}

func TestAsk(t *testing.T) {
	keeper, conn := pair(t)
	go Serve(keeper, map[string]Handler{
		"file": func(parse func(any) error) (Result, error) {
			var text string
			if err := parse(&text); err != nil {
				return Result{}, err
			}
			fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
			unix.Write(fd, []byte(text))
			return Result{With: len(text), FDs: []int{fd}}, err
		},
		"no": func(func(any) error) (Result, error) {
			return Result{}, app.Hint(errors.New("it can't be"), "do without")
		},
	})
	events := make(chan string, 1)
	a := NewAsker(conn, func(event string, with json.RawMessage) { events <- event + string(with) })
	for range 3 {
		var n int
		fds, err := a.Ask("file", "hello", &n)
		require.NoError(t, err)
		require.Equal(t, 5, n)
		require.Len(t, fds, 1)
		b := make([]byte, 10)
		n, err = unix.Pread(fds[0], b, 0)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b[:n]))
		flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.Equal(t, unix.FD_CLOEXEC, flags)
		require.NotZero(t, open(t, "memfd:x"), "they can be seen")
		CloseAll(fds)
	}
	_, err := a.Ask("no", nil, nil)
	require.EqualError(t, err, "it can't be")
	require.Equal(t, "do without", app.HintOf(err))
	_, err = a.Ask("file", 7, nil)
	require.ErrorContains(t, err, "cannot unmarshal number")
	keeper.Tell("changed", 7)
	require.Equal(t, "changed7", <-events)
	netlab.Eventually(t, limit, "no descriptor is left", func() bool { return open(t, "memfd:x") == 0 })

	keeper.Close()
	<-a.Gone()
	_, err = a.Ask("file", "x", nil)
	require.ErrorIs(t, err, ErrGone)
}

// A message that no worker of ours sends ends the conversation. Descriptors in it are closed.
func TestHostileWorker(t *testing.T) {
	devNull, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(devNull)
	for _, c := range []struct {
		what, text string
		fds        int
		want       string
	}{
		{"unknown", `{"id":1,"do":"x"}`, 0, `a request is refused: "x" is not known`},
		{"no JSON", "\x00\x01", 3, "a request is refused: invalid character"},
		{"another field", `{"id":1,"do":"x","y":1}`, 0, `a request is refused: json: unknown field "y"`},
		{"two at once", `{"id":1,"do":"x"}{}`, 2, "a request is refused: more than one message at once"},
		{"too long", `{"id":1,"do":"` + strings.Repeat("x", maxMessage) + `"}`, 0, "a request is refused: a message is too long"},
		{"descriptors", `{"id":1,"do":"x"}`, 1, "a request is refused: it has descriptors"},
		{"too many descriptors", `{"id":1,"do":"x"}`, maxDescriptors + 1, "a request is refused: a message is too long"},
	} {
		keeper, conn := pair(t)
		served := make(chan error, 1)
		go func() { served <- Serve(keeper, map[string]Handler{}) }()
		before := open(t, "/dev/null")
		var oob []byte
		if c.fds > 0 {
			list := make([]int, c.fds)
			for i := range list {
				list[i] = devNull
			}
			oob = unix.UnixRights(list...)
		}
		_, _, err := conn.unix.WriteMsgUnix([]byte(c.text), oob, nil)
		require.NoError(t, err, c.what)
		select {
		case err := <-served:
			require.ErrorContains(t, err, c.want, c.what)
		case <-time.After(limit):
			require.FailNow(t, c.what)
		}
		netlab.Eventually(t, limit, "descriptors are closed: "+c.what, func() bool { return open(t, "/dev/null") == before })
	}
}

// A descriptor that takes very long to close does not block anything.
func TestDescriptorThatLingers(t *testing.T) {
	for _, text := range []string{`{"id":1,"do":"x"}`, "no JSON"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		out, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		in, err := l.Accept() // and the worker reads nothing
		require.NoError(t, err)
		defer in.Close()
		out.SetWriteDeadline(time.Now().Add(time.Second))
		for err == nil {
			_, err = out.Write(make([]byte, 1<<20))
		}
		f, err := out.(*net.TCPConn).File()
		require.NoError(t, err)
		fd := int(f.Fd())
		require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}))
		require.NoError(t, unix.SetNonblock(fd, true))

		keeper, conn := pair(t)
		_, _, err = conn.unix.WriteMsgUnix([]byte(text), unix.UnixRights(fd), nil)
		require.NoError(t, err)
		require.NoError(t, errors.Join(f.Close(), out.Close()), "the one in the message is the last one")
		served := make(chan error, 1)
		go func() {
			served <- Serve(keeper, map[string]Handler{"x": func(func(any) error) (Result, error) { return Result{}, nil }})
		}()
		select {
		case err := <-served:
			require.ErrorContains(t, err, "a request is refused")
		case <-time.After(limit):
			require.FailNow(t, "it is still served")
		}
	}
}

// A worker that asks much and reads nothing is cut off, and does not block anything.
func TestWorkerThatDoesNotRead(t *testing.T) {
	keeper, conn := pair(t)
	served := make(chan error, 1)
	go func() {
		served <- Serve(keeper, map[string]Handler{"x": func(func(any) error) (Result, error) { return Result{With: strings.Repeat("x", 60_000)}, nil }})
	}()
	go func() {
		for {
			if conn.send(request{ID: 1, Do: "x"}, nil) != nil {
				return
			}
		}
	}()
	select {
	case err := <-served:
		require.NoError(t, err)
	case <-time.After(limit):
		require.FailNow(t, "it is still served")
	}
}

func never(error) bool { return false }

// If a worker's process is gone while its end of the socket is still open, the next worker can
// nevertheless connect. (Such an end can be in a message that waits at a socket, also at one
// of the keeper's.)
func TestNextWorkerTakesOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var now atomic.Int32
	go func() {
		ended <- Listen(ctx, path, atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}, 0, never, func(c *Conn) error {
			if now.Add(1) > 1 {
				return errors.New("two are served at once")
			}
			defer now.Add(-1)
			return Serve(c, map[string]Handler{"x": func(func(any) error) (Result, error) { return Result{}, nil }})
		})
	}()
	var askers []*Asker
	for range 3 {
		c, err := Dial(t.Context(), path)
		require.NoError(t, err)
		a := NewAsker(c, func(string, json.RawMessage) {})
		defer a.Close()
		asked := make(chan error, 1)
		go func() { _, err := a.Ask("x", nil, nil); asked <- err }()
		select {
		case err := <-asked:
			require.NoError(t, err)
		case <-time.After(limit):
			require.FailNow(t, "it is not served")
		}
		askers = append(askers, a)
	}
	<-askers[0].Gone()
	<-askers[1].Gone()
	stop()
	require.NoError(t, <-ended)
	<-askers[2].Gone()
}

// When both are stopped, the worker may ask until it is done, and ends first.
func TestWorkerEndsFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Listen(ctx, path, atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}, time.Hour, never, func(c *Conn) error {
			return Serve(c, map[string]Handler{"x": func(func(any) error) (Result, error) { return Result{}, nil }})
		})
	}()
	c, err := Dial(t.Context(), path)
	require.NoError(t, err)
	a := NewAsker(c, func(string, json.RawMessage) {})
	_, err = a.Ask("x", nil, nil)
	require.NoError(t, err)
	stop()
	for range 100 {
		time.Sleep(time.Millisecond) // the connection of a worker without grace is closed by now
		_, err = a.Ask("x", nil, nil)
		require.NoError(t, err)
	}
	require.Empty(t, ended)
	require.NoError(t, a.Close())
	require.NoError(t, <-ended)
}

// A socket serves only one user, and the next worker takes the place of one that is gone.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o755))
	served := make(chan bool, 10)
	go Listen(t.Context(), path, atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}, 0, never, func(c *Conn) error {
		served <- true
		return Serve(c, map[string]Handler{"x": func(func(any) error) (Result, error) { return Result{}, nil }})
	})
	for range 2 {
		c, err := Dial(t.Context(), path)
		require.NoError(t, err)
		a := NewAsker(c, func(string, json.RawMessage) {})
		_, err = a.Ask("x", nil, nil)
		require.NoError(t, err)
		require.NoError(t, a.Close())
		<-served
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	other := filepath.Join(filepath.Dir(path), "other.sock")
	go Listen(t.Context(), other, atomicfile.Owner{UID: 22505, GID: 22505}, 0, never, func(*Conn) error { served <- true; return nil })
	c, err := Dial(t.Context(), other) // root, which no mode stops
	require.NoError(t, err)
	_, err = c.receive(new(request))
	require.Error(t, err, "it is turned away")
	require.Empty(t, served)
	out, err := exec.Command("setpriv", "--reuid", "22506", "--clear-groups", "sh", "-c", "test -w "+other).CombinedOutput()
	require.Error(t, err, "%s", out)
}
