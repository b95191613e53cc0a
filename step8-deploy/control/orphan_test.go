package control

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// keeperVar makes this test's program a keeper: it makes the socket of this name, hands it to
// its parent, and waits to be killed.
const keeperVar = "STEPVPN_TEST_KEEPER"

func TestKeeper(t *testing.T) {
	path, is := os.LookupEnv(keeperVar)
	if !is {
		t.Skip("this is only for TestOrphan")
	}
	l, err := listen(path)
	require.NoError(t, err)
	f, err := l.File()
	require.NoError(t, err)
	require.NoError(t, unix.Sendmsg(3, []byte("x"), unix.UnixRights(int(f.Fd())), nil, 0))
	select {}
}

// A lines is a log that can be read meanwhile.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A keeper was killed, and its worker, which answers at the socket, is still there for a moment: a
// new daemon waits for its end.
func TestOrphan(t *testing.T) {
	path := socket(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "pair")
	defer unix.Close(ours)
	keeper := exec.Command(os.Args[0], "-test.run=^TestKeeper$")
	keeper.Env = append(os.Environ(), keeperVar+"="+path)
	keeper.ExtraFiles = []*os.File{theirs}
	require.NoError(t, keeper.Start())
	defer keeper.Process.Kill()
	theirs.Close()
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(ours, make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	require.NoError(t, err)
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	require.NoError(t, err)
	require.Len(t, messages, 1)
	fds, err := unix.ParseUnixRights(&messages[0])
	require.NoError(t, err)
	worker := fds[0] // this process is the worker now

	_, err = listen(path)
	require.EqualError(t, err, "status socket: another daemon has "+path, "as long as the keeper lives")

	keeper.Process.Kill()
	keeper.Wait()
	var log lines
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	type result struct {
		l   *net.UnixListener
		err error
	}
	made := make(chan result, 1)
	go func() {
		l, err := listen(path)
		made <- result{l, err}
	}()
	for !strings.Contains(log.String(), "waiting for the worker of a killed daemon to end") {
		select {
		case r := <-made:
			t.Fatalf("it did not wait: %v", r.err)
		case <-time.After(time.Millisecond):
		}
	}
	unix.Close(worker)
	r := <-made
	require.NoError(t, r.err)
	r.l.Close()
}
