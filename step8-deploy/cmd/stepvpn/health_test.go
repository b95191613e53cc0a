package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
)

// logged returns the log while f runs, with a line for each entry, without the time.
func logged(t *testing.T, f func()) []string {
	t.Helper()
	var text bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	f()
	return strings.Split(strings.TrimSpace(text.String()), "\n")
}

// The log has each state and reason once until the client is up, however many there are.
func TestTellsOnce(t *testing.T) {
	connecting := supervise.Status{State: supervise.Connecting, Server: config.Endpoint{Host: "vpn.example", Port: 1}}
	waiting := supervise.Status{State: supervise.Waiting, Reason: "no answer", Cure: "Wake it.", Err: errors.New("no answer")}
	up := supervise.Status{State: supervise.Up, Session: time.Now()}
	degraded := supervise.Status{State: supervise.Degraded, Reason: "no names", Cure: "Wake it."}
	outage := []string{
		`level=INFO msg="client is connecting" server=vpn.example:1 awaits="the address of vpn.example"`,
		`level=WARN msg="client is waiting" reason="no answer" cure="Wake it."`,
	}
	lines := logged(t, func() {
		tell := tell(func(supervise.Status) {})
		for range 2 {
			for range 3 {
				tell(connecting)
				tell(waiting)
			}
			tell(up)
			tell(degraded)
			tell(up)
		}
	})
	require.Len(t, lines, 2*(len(outage)+3), "%q", lines)
	require.Equal(t, outage, lines[:2])
	require.Equal(t, outage, lines[5:7])
	require.Contains(t, lines[2], `msg="client is up"`)
	require.Contains(t, lines[3], `msg="client is degraded" reason="no names" cure="Wake it."`)

	lines = logged(t, func() {
		tell := tell(func(supervise.Status) {})
		for i := range 10 * maxTold {
			waiting.Reason = strings.Repeat("x", i)
			tell(waiting)
		}
	})
	require.Len(t, lines, 10*maxTold)
}

// If a server's host lacks something, the server says so once, and says once when that is
// over.
func TestHostCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missing atomic.Pointer[[]keeper.Problem]
		missing.Store(new([]keeper.Problem))
		var host hostCheck = func() []keeper.Problem { return *missing.Load() }
		state, reason, cure := host.state()
		require.Equal(t, []string{status.Up, "", ""}, []string{state, reason, cure})
		ctx, stop := context.WithCancel(t.Context())
		var telling sync.WaitGroup
		var told, states []string
		telling.Go(func() {
			host.tell(ctx, func(s string) { told = append(told, s) }, func(state, _ string) { states = append(states, state) })
		})
		time.Sleep(time.Minute)
		missing.Store(&[]keeper.Problem{{What: "forwarding is off", Cure: "Turn it on."}, {What: "there is no default route"}})
		state, reason, cure = host.state()
		require.Equal(t, []string{status.Degraded, "forwarding is off; there is no default route", "Turn it on."}, []string{state, reason, cure})
		time.Sleep(time.Minute)
		missing.Store(new([]keeper.Problem))
		time.Sleep(time.Minute)
		stop()
		telling.Wait()
		require.Equal(t, []string{"degraded: forwarding is off; there is no default route. Turn it on.", "serving clients"}, told)
		require.Equal(t, []string{status.Degraded, status.Up}, states)
	})
}

// wait-online returns when the client is up. When the time is over, it says why the client is
// not up.
func TestWaitOnline(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	out, code := stepvpn(t, dir, "wait-online", "-socket", socket, "-timeout", "300ms")
	require.Equal(t, 1, code)
	require.True(t, strings.HasPrefix(out, "stepvpn: not up after 300ms: no daemon answers at "+socket+"\n"), out)

	var now atomic.Pointer[status.Report]
	now.Store(&status.Report{Role: "client", State: "waiting", Reason: "no answer", Cure: "Wake it."})
	defer serveStatus(t, socket, func() *status.Report { return now.Load() })()
	out, code = stepvpn(t, dir, "wait-online", "-socket", socket, "-timeout", "300ms")
	require.Equal(t, 1, code)
	require.Equal(t, "stepvpn: not up after 300ms: the client is waiting: no answer\n  Wake it.\n", out)

	now.Store(&status.Report{Role: "client", State: "connecting"})
	time.AfterFunc(300*time.Millisecond, func() { now.Store(&status.Report{Role: "client", State: "up"}) })
	out, code = stepvpn(t, dir, "wait-online", "-socket", socket, "-timeout", "0")
	require.Zero(t, code, out)
	require.Empty(t, out)
}
