package main

import (
	"context"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/uplink"
)

// server is the command that serves clients. This file is the privileged process, the keeper;
// worker_server.go is the other one.
var server = app.Command{
	Name:  "server",
	Args:  "FILE",
	About: "Lets clients out to the internet, and looks up names for them.",
	Setup: func() func(context.Context, []string) error {
		worker := workerFlag()
		return func(ctx context.Context, args []string) error { return runServer(ctx, args[0], *worker) }
	},
}

// runServer keeps the host, and runs a worker that serves the clients.
func runServer(ctx context.Context, file, worker string) (err error) {
	var undo app.Undo
	defer undo.All(&err)

	// There are sockets for clients, and a TUN device...
	k, err := keeper.NewServer(file, serverAccount.owner())
	if err != nil {
		return err
	}
	undo.Add(k.Close, nil)

	// ...whose packets this host forwards, whatever others do to it...
	cfg := k.Settings()
	if warning := cfg.Warning(); warning != "" {
		slog.Warn(warning)
	}
	host, err := uplink.Enable(uplink.Config{
		Device: k.Device(), Egress: cfg.Egress, Sysctls: steady(), Service: serviceOf(cfg), Reach: cfg.Reach, MaxClients: cfg.MaxClients, Paths: k.Paths(),
	})
	if err != nil {
		return err
	}
	undo.Add(host.Close, nil)
	k.Problems = host.Problems
	go host.Keep(ctx)
	if err := k.OpenResolver(); err != nil {
		return err
	}

	// ...and a process without privileges between them. The keeper changes who may come in, for those who
	// may ask it to: control.go.
	w := &ward{serve: k.Serve, reload: k.Reload}
	changes, err := serveChanges(k, func(e control.Event) { k.Changed(w.conn.Load(), e) })
	if err != nil {
		return err
	}
	undo.Add(changes, nil)
	defer notify.Stopping()
	return keepWorker(ctx, serverAccount, "worker server", worker, w)
}

// serviceOf returns what the host's firewall must let in.
func serviceOf(cfg *config.Server) uplink.Service {
	return uplink.Service{Listen: cfg.Listen, Transports: cfg.Transports, DNS: cfg.DNS}
}

// steady returns a setting that keeps the clients' TCP connections through an interruption of
// the tunnel, such as a restart of this program: the kernel then does not compare a segment
// with the ones before it. Otherwise it could take a segment for invalid, and would forward
// it with the client's own address, untranslated.
func steady() map[string]string {
	return map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"}
}
