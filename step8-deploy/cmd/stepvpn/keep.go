package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"stepvpn/shared/app"
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

const (
	restartAfter = time.Second     // how long a worker that has crashed stays away
	endIn        = 5 * time.Second // the time that a worker has to end
)

// workerFlag defines the flag that says who starts the worker.
func workerFlag() *string {
	return flag.String("worker", "", "the worker is started by systemd, and connects at this `socket`; without it, it is started from here")
}

// A ward is the worker that there is, of which there is one at a time.
type ward struct {
	serve  func(*privsep.Conn) error
	reload func(*privsep.Conn) // nil if there is none now
	conn   atomic.Pointer[privsep.Conn]
}

// keepWorker starts this program once more, as a worker, and does for it what it may not
// do itself. One that somebody kills, or that crashes, is started anew. It returns when
// ctx ends, or when the worker has said why it can't go on. If there is a socket, workers
// are started by somebody else, and it returns when ctx ends.
func keepWorker(ctx context.Context, as account, command, socket string, w *ward) error {
	app.OnHangup(func() { w.reload(w.conn.Load()) })
	if socket != "" {
		signal.Ignore(syscall.SIGUSR1) // is for the worker
		return privsep.Listen(ctx, socket, as.owner(), failed, w.attend)
	}
	args := strings.Fields(command)
	if v := flag.Lookup("v"); v != nil && v.Value.String() == "true" {
		args = append(args, "-v")
	}
	for {
		started, err := privsep.Start(as.name, as.number, args...)
		if err != nil {
			return err
		}
		err, crashed := w.untilEnded(ctx, started)
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

// failed tells whether a worker has said that it can't go on.
func failed(err error) bool {
	_, is := errors.AsType[keeper.Failed](err)
	return is
}

// attend serves one worker until it is gone.
func (w *ward) attend(c *privsep.Conn) error {
	w.conn.Store(c)
	defer w.conn.CompareAndSwap(c, nil)
	return w.serve(c)
}

// untilEnded serves a worker until it has ended, which it is asked to do when ctx ends.
func (w *ward) untilEnded(ctx context.Context, worker *privsep.Worker) (err error, crashed bool) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	defer context.AfterFunc(ctx, func() { worker.Signal(syscall.SIGTERM) })()
	// One that has been taken over may not want to end.
	overdue := func() { worker.Signal(syscall.SIGKILL) }
	defer context.AfterFunc(ctx, func() { time.AfterFunc(endIn, overdue) })()
	served := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		served <- w.attend(worker.Conn)
	}()
	for {
		select {
		case s := <-signals:
			worker.Signal(s)
		case err := <-served: // it asks for nothing any more, or for what it should not
			if err != nil && !failed(err) {
				slog.Error("the worker is ended", "error", err)
				overdue()
			}
			time.AfterFunc(endIn, overdue)
			<-worker.Done()
		case <-worker.Done():
			worker.Conn.Close()
			<-done // what it has asked for must not come after what comes next
			err, crashed := worker.Ended()
			switch {
			case ctx.Err() != nil:
				return nil, false
			case err != nil && !crashed:
				return app.ErrTold, false
			}
			return err, crashed
		}
	}
}

// keeperFlag defines the flag that says where a worker finds its keeper.
func keeperFlag() *string {
	return flag.String("keeper", "", "the keeper's `socket`; without it, it is the process that has started this one")
}

// connectKeeper is how a worker begins.
func connectKeeper(ctx context.Context, socket string) (*privsep.Conn, error) {
	if err := privsep.Hide(); err != nil {
		return nil, err
	}
	if socket != "" {
		return privsep.Dial(ctx, socket)
	}
	return privsep.Parent()
}
