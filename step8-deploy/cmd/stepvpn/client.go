package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/supervise"
	"stepvpn/step8-deploy/takeover"
)

// client is the command that connects this host to a server. This file is the privileged
// process, the keeper; worker.go is the other one.
var client = app.Command{
	Name:  "client",
	Args:  "FILE",
	About: "Keeps this host connected to a server. Traffic for the tunnel goes through it, or nowhere. FILE has settings of ours, or is a file of the WireGuard protocol (wg0.conf).",
	Setup: func() func(context.Context, []string) error {
		leave := flag.Bool("leave-closed", false, "leave the kill switch closed when a signal ends the client: 'stepvpn killswitch open' opens it")
		socket := flag.String("names", "", "systemd starts the process that writes resolv.conf, which listens at this `socket` (default: this process writes it)")
		worker := workerFlag()
		return func(ctx context.Context, args []string) error {
			return runClient(ctx, args[0], *leave, *worker, namesAt(*socket))
		}
	},
}

// runClient keeps the host, and runs a worker that connects it. worker is the socket at which a
// worker that systemd starts finds this process; if it is "", this process starts one. namer
// writes resolv.conf.
func runClient(ctx context.Context, file string, leave bool, worker string, namer names.Keeper) (err error) {
	var undo app.Undo
	defer undo.All(&err)

	// What can fail comes first, before the host is changed: NewClient reads the settings and the
	// keys, and opens the sockets for status and metrics. (If that fails, what others have removed
	// of a closed kill switch is put back, at each try.)...
	k, err := keeper.NewClient(file, namer)
	if err != nil {
		keepClosed(file)
		return err
	}
	undo.Add(k.Close, nil)
	warnOfSecond(ctx)

	// ...then nothing can leave this host except through the tunnel: Begin closes the kill switch,
	// and puts back what a killed client has left. When the kernel reports changes, the host finds
	// out again what is local, and puts back what others have removed...
	host := k.Host()
	if err := host.Begin(); err != nil {
		return err
	}
	// (As a service, leave is set, and nothing here opens the switch: the unit does, when it is stopped.)
	undo.Add(func() error { return giveBack(host, ctx.Err() != nil && !leave && !shuttingDown()) }, nil)
	go watched(func() error { return supervise.WatchNetwork(ctx, k.Device(), host.NetworkChanged) })
	go watched(func() error { return takeover.WatchRules(ctx, host.HostChanged) })
	go supervise.WatchClock(ctx, host.ClockJumped)

	// ...and the tunnel is the work of a process without privileges. keepWorker starts it, and
	// starts it again when it crashes. For the worker, k.Serve does what only root may do, after
	// it has checked that against the settings: runWorker and connect ask for it. (A ward is the
	// current worker, of which there is one at a time.)
	go notify.Watchdog(ctx, func(context.Context) error { k.Alive(); return nil })
	defer notify.Stopping()
	notify.Status("nothing leaves this host except through the tunnel")
	defer time.AfterFunc(readyWithin, k.Ready).Stop() // or when packets pass, whichever comes first
	return keepWorker(ctx, clientAccount, "worker client", worker, &ward{serve: k.Serve, reload: k.Reload})
}

// readyWithin is how long 'systemctl start', and a boot, wait for the tunnel. Whoever starts a
// client expects to use it at once; but a machine must boot without a server, too.
const readyWithin = 3 * time.Second

// namesAt returns the Keeper that writes resolv.conf.
func namesAt(socket string) names.Keeper {
	if socket == "" {
		return new(names.Local)
	}
	return names.NewRemote(socket)
}

// warnOfSecond logs, at a second signal, what one more would leave undone: the first has ended
// ctx, and the host is being put back. A third signal ends the program. It must be called
// before the first signal, as the second may follow that closely.
func warnOfSecond(ctx context.Context) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		<-signals // the first
		<-signals
		slog.Warn("this host is being put back: one more signal interrupts that, and then 'stepvpn recover' does the rest")
		signal.Stop(signals)
	})
}

// giveBack puts the host back as it was. The kill switch opens only if the operator has said
// so.
func giveBack(host *takeover.Host, open bool) error {
	if open {
		return host.End()
	}
	return host.Leave()
}
