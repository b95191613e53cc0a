// Peer is one end of an encrypted tunnel, wired as in step 4, with simple or fast ends. The
// tests and the benchmark of the fast ends use it.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"runtime/pprof"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step8-deploy/fast"
)

var (
	listen   = flag.String("listen", "", "be the server on `[HOST]:PORT`")
	server   = flag.String("server", "", "be the client of the server at `HOST:PORT`")
	name     = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs    = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel")
	mtu      = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes`")
	simple   = flag.Bool("simple", false, "use the simple ends")
	noTSO    = flag.Bool("no-tso", false, "take every packet from the host by itself")
	noTUNGRO = flag.Bool("no-tun-gro", false, "hand every packet to the host by itself")
	noGSO    = flag.Bool("no-gso", false, "send every packet by itself")
	noGRO    = flag.Bool("no-gro", false, "receive every packet by itself")
	profile  = flag.String("profile", "", "write a processor profile to `file`")
)

func main() { app.Main("Peer is one end of a tunnel, for measurements.", run) }

func run(ctx context.Context) error {
	var count tunnel.Counters
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}

	session, inner, err := connect(ctx, &count)
	if err != nil {
		return err
	}
	defer session.Close()

	open := tun.Open
	if !*simple {
		open = func(c tun.Config) (*tun.Device, error) {
			dev, _, err := fast.Open(c, fast.TUNOptions{NoTSO: *noTSO, NoGRO: *noTUNGRO})
			return dev, err
		}
	}
	dev, err := open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()
	slog.Info("tunnel is up", "dev", dev.Name(), "mtu", inner)
	defer app.ReportStats(count.String)()
	return tunnel.Run(ctx, dev, session, &count)
}

// connect makes the end that goes to the other host.
func connect(ctx context.Context, count *tunnel.Counters) (*secure.Conn, transport.MTU, error) {
	o := transport.Options{Drops: &count.Drops}
	cfg := secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: new([noise.KeyLen]byte)},
		Drops:     &count.Drops,
	}
	var conn transport.Conn
	var session *secure.Conn
	var err error
	if *server != "" {
		conn, err = transport.Dial(transport.UDP, *server, o)
	} else {
		conn, err = transport.Listen(transport.UDP, *listen, o)
	}
	if err == nil && !*simple {
		conn, err = fast.Carry(conn, fast.UDPOptions{Drops: &count.Drops, NoGSO: *noGSO, NoGRO: *noGRO})
	}
	if err != nil {
		return nil, transport.MTU{}, err
	}
	if *server != "" {
		session, err = secure.Client(ctx, conn, cfg)
	} else {
		session, err = secure.Server(conn, cfg)
	}
	return session, conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu), err
}
