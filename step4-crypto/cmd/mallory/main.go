// Mallory stands between a client and the server. She passes their datagrams on,
// but flips a bit in some, and sends some again later.
//
// She is a tool for the demo: the lab's cafe redirects the client to her.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
)

var (
	listen = flag.String("listen", ":6666", "receive the client's datagrams on `[HOST]:PORT`")
	server = flag.String("server", "", "pass them on to `HOST:PORT`")
	flip   = flag.Int("flip", 50, "flip a random bit in one of `N` datagrams (0: never)")
	replay = flag.Int("replay", 20, "send one of `N` datagrams again, after a few others (0: never)")
)

func main() {
	app.Main("Mallory passes datagrams on, and tampers with them.", run)
}

// Counters for the end.
var passed, flipped, replayed atomic.Uint64

func run(ctx context.Context) error {
	if *flip < 0 || *replay < 0 {
		return app.Usage("-flip and -replay must be at least 0")
	}
	defer app.ReportStats(func() string {
		return fmt.Sprintf("passed on %d datagrams, flipped a bit in %d, replayed %d", passed.Load(), flipped.Load(), replayed.Load())
	})()
	near, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := net.Dial("udp", *server)
	if err != nil {
		return err
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()

	// The victim is the last client that sent: one client is enough for a demo.
	var victim atomic.Pointer[netip.AddrPort]
	client, site := near.(*net.UDPConn), far.(*net.UDPConn)
	var both sync.WaitGroup
	both.Go(func() { // client to server
		tamper(ctx, func(b []byte) (int, error) {
			n, from, err := client.ReadFromUDPAddrPort(b)
			if err == nil {
				victim.Store(&from)
			}
			return n, err
		}, site.Write)
	})
	both.Go(func() { // server to client
		tamper(ctx, site.Read, func(p []byte) (int, error) {
			if to := victim.Load(); to != nil {
				return client.WriteToUDPAddrPort(p, *to)
			}
			return 0, nil
		})
	})
	both.Wait()
	return nil
}

// tamper passes on the datagrams that read returns, until ctx ends.
func tamper(ctx context.Context, read, write func([]byte) (int, error)) {
	buf := make([]byte, link.MaxPacket)
	var old []byte // the next one to replay
	for ctx.Err() == nil {
		n, err := read(buf)
		if err != nil || n == 0 {
			continue // no program listens there at the moment
		}
		if old != nil && rand.IntN(4) == 0 {
			write(old)
			replayed.Add(1)
			old = nil
		}
		p := buf[:n]
		if *replay > 0 && rand.IntN(*replay) == 0 {
			old = append(old[:0], p...)
		}
		if *flip > 0 && rand.IntN(*flip) == 0 {
			p[rand.IntN(n)] ^= 1 << rand.IntN(8)
			flipped.Add(1)
		}
		write(p)
		passed.Add(1)
	}
}
