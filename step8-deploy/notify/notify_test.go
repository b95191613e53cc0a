package notify

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen stands in for systemd. next returns the next message.
func listen(t *testing.T) (next func() string) {
	name := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		n, err := conn.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
}

func TestMessages(t *testing.T) {
	next := listen(t)
	Ready("2 clients\nREADY=0")
	require.Equal(t, "READY=1\nSTATUS=2 clients READY=0", next())
	Ready("")
	require.Equal(t, "READY=1", next())
	Reloading()
	require.Regexp(t, regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[0-9]+$`), next())
	Status("x")
	require.Equal(t, "STATUS=x", next())
	Stopping()
	require.Equal(t, "STOPPING=1", next())
}

// Without systemd, or if it is gone, nothing happens.
func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Ready("")
	t.Setenv("NOTIFY_SOCKET", "/none/at/all")
	Ready("")
	t.Setenv("WATCHDOG_USEC", "")
	Watchdog(t.Context(), func(context.Context) error { panic("not asked for") })
	t.Setenv("WATCHDOG_USEC", "often")
	Watchdog(t.Context(), func(context.Context) error { panic("not asked for") })
}

// The watchdog is fed while the check succeeds, but not while it fails or hangs.
func TestWatchdog(t *testing.T) {
	next := listen(t)
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(30_000))
	t.Setenv("WATCHDOG_PID", "")
	var mode atomic.Int32 // 0: it succeeds, 1: it fails, 2: it hangs
	var failed, hung atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		Watchdog(ctx, func(ctx context.Context) error {
			switch mode.Load() {
			case 1:
				if failed.Add(1) == 5 {
					Status("failed five times") // nothing else was sent meanwhile
					mode.Store(2)
				}
				return errors.New("no packet comes through")
			case 2:
				<-ctx.Done()
				if hung.Add(1) == 3 {
					Status("hung three times")
					mode.Store(0)
				}
				return ctx.Err()
			}
			return nil
		})
	})
	for range 5 {
		require.Equal(t, "WATCHDOG=1", next())
	}
	mode.Store(1)
	m := next()
	for m == "WATCHDOG=1" { // messages that were on their way
		m = next()
	}
	require.Equal(t, "STATUS=failed five times", m)
	require.Equal(t, "STATUS=hung three times", next())
	require.Equal(t, "WATCHDOG=1", next())
	stop()
	wg.Wait()
}
