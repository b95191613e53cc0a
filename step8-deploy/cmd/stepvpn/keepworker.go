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
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/privsep"
)

// keepWorker keeps a worker running: it starts another process of this program, as a worker,
// and does for it what the worker may not do itself. It restarts a worker that is killed or
// crashes. It returns when ctx ends, or when the worker has said why it can't go on. If socket
// is not "", systemd starts and restarts the workers.
func keepWorker(ctx context.Context, as account, command, socket string, w *ward) error {
	app.OnHangup(func() { w.reload(w.conn.Load()) })
	if socket != "" {
		signal.Ignore(syscall.SIGUSR1) // the worker handles it
		// A client that tells its server that it leaves needs its keeper until then.
		return privsep.Listen(ctx, socket, as.owner(), endIn, failed, w.attend)
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
		slog.Error("the worker has ended, and is restarted", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
		}
	}
}

// A ward is the current worker. There is one at a time.
type ward struct {
	serve  func(*privsep.Conn) error
	reload func(*privsep.Conn) // nil if there is none now
	conn   atomic.Pointer[privsep.Conn]
}

// attend serves one worker until it is gone.
func (w *ward) attend(c *privsep.Conn) error {
	w.conn.Store(c)
	defer w.conn.CompareAndSwap(c, nil)
	return w.serve(c)
}

// untilEnded serves a worker until it has ended. When ctx ends, it asks the worker to end.
func (w *ward) untilEnded(ctx context.Context, worker *privsep.Worker) (err error, crashed bool) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	defer context.AfterFunc(ctx, func() { worker.Signal(syscall.SIGTERM) })()
	// A worker that an attacker controls may refuse to end.
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
		case err := <-served: // it has closed its end, or has asked for something that it should not
			if err != nil && !failed(err) {
				slog.Error("the worker has broken the protocol, and is ended", "error", err)
				overdue()
			}
			time.AfterFunc(endIn, overdue)
			<-worker.Done()
		case <-worker.Done():
			worker.Conn.Close()
			<-done // its last requests must be done before anything else is
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

// failed reports whether a worker has said that it can't go on.
func failed(err error) bool {
	_, is := errors.AsType[keeper.Failed](err)
	return is
}

const (
	restartAfter = time.Second     // how long to wait before restarting a worker that has crashed
	endIn        = 5 * time.Second // how long a worker may take to end
)

// An account is the user of a worker. 'make install' makes that user; if it does not exist,
// the number is used, which should belong to no account.
type account struct {
	name   string
	number int
}

var (
	clientAccount = account{"stepvpn-client", 22505}
	serverAccount = account{"stepvpn-server", 22506}
)

func (a account) owner() atomicfile.Owner { return privsep.Owner(a.name, a.number) }

// workerFlag defines the flag that says who starts the worker.
func workerFlag() *string {
	return flag.String("worker", "", "systemd starts the worker, which connects to this `socket` (default: this process starts the worker)")
}

// keeperFlag defines the flag that says where a worker finds its keeper.
func keeperFlag() *string {
	return flag.String("keeper", "", "the keeper's `socket` (default: the keeper is the process that has started this one)")
}

// connectKeeper connects a worker to its keeper. It and keeperFlag are what a worker calls of
// this file.
func connectKeeper(ctx context.Context, socket string) (*privsep.Conn, error) {
	if err := privsep.Hide(); err != nil {
		return nil, err
	}
	if socket == "" {
		return privsep.Parent()
	}
	// As long as a mistake in the settings keeps the keeper from starting, that is no fault of the worker.
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go notify.Watchdog(waiting, func(context.Context) error { return nil })
	return privsep.Dial(ctx, socket)
}
