package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/privsep"
)

// An account is the user of a worker. Where there is no such user, which 'make install'
// makes, the number serves: no account has it.
type account struct {
	name   string
	number int
}

var (
	clientAccount = account{"stepvpn-client", 22505}
	serverAccount = account{"stepvpn-server", 22506}
)

func (a account) owner() atomicfile.Owner { return privsep.Owner(a.name, a.number) }

// restartAfter is how long a worker that has crashed stays away.
const restartAfter = time.Second

// keepWorker starts this program once more, as a worker, and does for it what it may not
// do itself. One that somebody kills, or that crashes, is started anew. It returns when
// ctx ends, or when the worker has said why it can't go on.
func keepWorker(ctx context.Context, as account, command string, serve func(*privsep.Conn) error) error {
	args := strings.Fields(command)
	if v := flag.Lookup("v"); v != nil && v.Value.String() == "true" {
		args = append(args, "-v")
	}
	for {
		w, err := privsep.Start(as.name, as.number, args...)
		if err != nil {
			return err
		}
		err, crashed := keepOne(ctx, w, serve)
		if ctx.Err() != nil || !crashed {
			return err
		}
		slog.Error("the worker has ended, and is started anew", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
		}
	}
}

// errTold says that the worker has told the reason.
var errTold = errors.New("see above")

// keepOne serves a worker until it has ended. What this process is told by signals
// reaches it.
func keepOne(ctx context.Context, w *privsep.Worker, serve func(*privsep.Conn) error) (err error, crashed bool) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	defer context.AfterFunc(ctx, func() { w.Signal(syscall.SIGTERM) })()
	served := make(chan error, 1)
	go func() { served <- serve(w.Conn) }()
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				keeper.Reload(w.Conn)
			} else {
				w.Signal(s)
			}
		case err := <-served: // it asks for nothing any more, or for what it should not
			if err != nil {
				slog.Error("the worker is ended", "error", err)
				w.Signal(syscall.SIGKILL)
			}
			<-w.Done()
		case <-w.Done():
			w.Conn.Close()
			err, crashed := w.Ended()
			if ctx.Err() != nil {
				err = nil
			}
			return err, crashed
		}
	}
}
