// Web is the site that the demos visit. It prints a line per visit.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"

	"stepvpn/shared/app"
	"stepvpn/shared/lab/site"
)

func main() {
	listen := flag.String("listen", ":80", "the `address` to serve on; without a host part, all IPv4 and IPv6 addresses")
	app.Main("Serves the lab's web site.", func(ctx context.Context) error {
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			return err
		}
		slog.Info("serving", "address", l.Addr())
		server := site.New(func(address, request string) {
			slog.Info("visit", "from", address, "request", request)
		})
		context.AfterFunc(ctx, func() { server.Close() })
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}
