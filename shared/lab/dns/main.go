// Dns is the DNS server that the demos use. It prints a line per question.
package main

import (
	"context"
	"flag"
	"log/slog"

	"github.com/miekg/dns"

	"stepvpn/shared/app"
	"stepvpn/shared/lab/zone"
)

func main() {
	listen := flag.String("listen", ":53", "the `address` to serve on; without a host part, all IPv4 and IPv6 addresses")
	app.Main("Serves the names of the lab.", func(ctx context.Context) error {
		server, err := zone.Start(*listen, func(q zone.Query) *dns.Msg {
			slog.Info("query", "from", q.From, "question", q.Question(), "network", q.Network)
			return zone.Answer(q)
		})
		if err != nil {
			return err
		}
		slog.Info("serving", "address", server.Addr())
		<-ctx.Done()
		return server.Close()
	})
}
