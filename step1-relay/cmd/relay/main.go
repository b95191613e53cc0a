// Relay accepts TCP connections two by two and pipes bytes between them.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step1-relay/relay"
)

func main() {
	addr := flag.String("listen", ":5555", "`address` and port to listen on")
	wait := flag.Duration("wait", time.Minute, "how long a connection waits for its partner")
	maxPairs := flag.Int("max-pairs", 16, "join at most `N` pairs at once")
	hex := flag.Bool("hex", false, "dump the bytes of each chunk")

	app.Main("relay joins TCP connections two by two and pipes bytes between them.", func(ctx context.Context) error {
		if *wait <= 0 {
			return app.Usage("-wait %v: must be more than 0", *wait)
		}
		if *maxPairs < 1 {
			return app.Usage("-max-pairs %d: must be at least 1", *maxPairs)
		}
		listener, err := listen(*addr)
		if err != nil {
			return err
		}
		slog.Info("listening", "on", listener.Addr())

		r := relay.Relay{
			Wait:     *wait,
			MaxPairs: *maxPairs,
			Hex:      *hex,
			Out:      log.New(os.Stdout, "", log.Ltime|log.Lmicroseconds),
		}
		return r.Serve(ctx, listener)
	})
}

// listen opens the port.
func listen(addr string) (*net.TCPListener, error) {
	tcpAddr, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, app.Usage("-listen %s: %w", addr, err)
	}
	listener, err := net.ListenTCP("tcp", tcpAddr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		err = app.Hint(err, "Another program listens there: see which with 'ss -ltnp', or choose another port with -listen.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = app.Hint(err, "This host does not have that address: 'ip address' lists the addresses it has. '-listen :5555' listens on all of them.")
	}
	return listener, err
}
