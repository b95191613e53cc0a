package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/supervise"
	"stepvpn/step8-deploy/takeover"
)

var client = app.Command{
	Name:  "client",
	Args:  "FILE",
	About: "Keeps this host connected to a server. What is to go through the tunnel goes through it, or nowhere.",
	Setup: func() func(context.Context, []string) error {
		leave := flag.Bool("leave-closed", false, "a signal to end is no wish to open the kill switch: 'stepvpn killswitch open' is called for that")
		socket := flag.String("names", "", "what writes resolv.conf is started by systemd, and listens at this `socket`; without it, it is this process")
		worker := workerFlag()
		return func(ctx context.Context, args []string) error {
			return runClient(ctx, args[0], *leave, *worker, namesAt(*socket))
		}
	},
}

// runClient keeps the host, and has a worker connect it.
func runClient(ctx context.Context, file string, leave bool, worker string, names names.Keeper) (err error) {
	var undo app.Undo
	defer undo.All(&err)

	// What can fail comes first, while nothing of the host is taken...
	k, err := keeper.NewClient(file, names)
	if err != nil {
		return err
	}
	undo.Add(k.Close, nil)
	warnOfSecond(ctx)

	// ...then nothing leaves this host any more but through the tunnel...
	host := k.Host()
	if err := host.Begin(); err != nil {
		return err
	}
	undo.Add(func() error { return giveBack(host, ctx.Err() != nil && !leave && !shuttingDown()) }, nil)
	go watched(func() error { return supervise.WatchNetwork(ctx, k.Device(), host.NetworkChanged) })
	go watched(func() error { return supervise.WatchRules(ctx, host.HostChanged) })

	// ...which is the work of a process that has no privilege.
	go notify.Watchdog(ctx, func(context.Context) error { k.Alive(); return nil })
	defer notify.Stopping()
	notify.Ready("nothing leaves this host but through the tunnel")
	return keepWorker(ctx, clientAccount, "worker client", worker, &ward{serve: k.Serve, reload: k.Reload})
}

// namesAt returns what writes resolv.conf.
func namesAt(socket string) names.Keeper {
	if socket == "" {
		return new(names.Local)
	}
	return names.NewRemote(socket)
}

// warnOfSecond says what a second signal would leave, once the first has ended ctx and
// the host is being put back. A third one ends the program. It listens from now on: a
// second signal that comes close behind the first must not end the program, either.
func warnOfSecond(ctx context.Context) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		<-signals // the first
		<-signals
		slog.Warn("this host is being put back: one more signal ends that, and then 'stepvpn recover' does the rest")
		signal.Stop(signals)
	})
}

// giveBack puts the host back as it was. The kill switch opens only when the operator
// has said so.
func giveBack(host *takeover.Host, open bool) error {
	if open {
		return host.End()
	}
	return host.Leave()
}
