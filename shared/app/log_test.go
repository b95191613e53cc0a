package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A buffer can be written by one goroutine and read by another one.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// take returns what was written since the last call.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

// Nobody can fill the log, or hide the others in it; and it says how much is missing.
func TestBoundedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log := slog.New(bound(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		lines := func() int { return strings.Count(out.take(), "\n") }

		alice := log.With("client", "alice")
		for range 10_000 {
			alice.Info("connected", "peer", "192.0.2.1:1")
			alice.Warn("something else")
		}
		require.Equal(t, logClient, lines())
		log.Info("connected", "client", "bob")
		require.Equal(t, 1, lines(), "another one has her own share")
		for n := range 10_000 {
			log.Info("stranger", "peer", n)
			log.Debug("connection ended", "peer", n)
		}
		require.Equal(t, logClient+logVerbose, lines())
		for n := range 10_000 {
			log.Info("connected", "client", fmt.Sprint("client", n))
		}
		require.Equal(t, logAll-logClient-1-logClient, lines())
		for range 1000 {
			log.Info("the host's own")
		}
		require.Equal(t, 1000, lines())

		time.Sleep(logPer)
		synctest.Wait()
		told := out.take()
		require.Equal(t, 1, strings.Count(told, "\n"))
		left := 20_000 - logClient + 20_000 - logClient - logVerbose + 10_000 - (logAll - 2*logClient - 1)
		require.Contains(t, told, fmt.Sprintf(`level=WARN msg="log lines were left out: clients or strangers cause too many" lines=%d most=alice`, left))
		alice.Info("connected")
		require.Equal(t, 1, lines(), "she is heard again")
		time.Sleep(2 * logPer)
		synctest.Wait()
		require.Zero(t, lines(), "nothing was left out since")
	})
}

func TestPrintableLog(t *testing.T) {
	var out bytes.Buffer
	line := "WARN device \x1b[2J\x9b1m\u202e is\ngone\n"
	n, err := printable{&out}.Write([]byte(line))
	require.NoError(t, err)
	require.Equal(t, len(line), n)
	require.Equal(t, "WARN device \ufffd[2J\ufffd1m\ufffd is gone\n", out.String())
}
