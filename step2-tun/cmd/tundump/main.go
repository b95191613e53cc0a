// Tundump makes a TUN device and prints a line for every packet that the host
// sends into it. It answers none of them, or only pings: the device only hands packets
// from the kernel to the program, and what becomes of them is up to the program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step2-tun/packet"
	"stepvpn/step2-tun/pcap"
	"stepvpn/step2-tun/tun"
)

var (
	name    = flag.String("dev", "vpn0", "`name` of the device to make; empty: the kernel chooses")
	addrs   = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this host on the device, with prefix lengths")
	mtu     = flag.Int("mtu", tun.DefaultMTU, "longest packet in `bytes`, 68 to 65535; with an IPv6 address at least 1280")
	persist = flag.Bool("persist", false, "keep the device at exit, and take over one that was kept")
	answer  = flag.Bool("answer", false, "answer pings over IPv4, in the name of whichever host is pinged")
	file    = flag.String("pcap", "", "also write the packets to this `file`, for Wireshark and tcpdump; an existing file is replaced")
)

func main() {
	app.Main("tundump makes a TUN device and prints the packets that this host sends into it.", run)
}

func run(ctx context.Context) error {
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: *mtu, Persist: *persist})
	if err != nil {
		return err
	}
	defer dev.Close()
	// Ctrl-C ends the context, which closes the device, which ends the dump.
	defer context.AfterFunc(ctx, func() { dev.Close() })()

	var capture *pcap.Writer
	if *file != "" {
		if capture, err = pcap.Create(*file); err != nil {
			return err
		}
		defer capture.Close()
	}

	slog.Info("the device is up", "name", dev.Name(), "addresses", *addrs, "mtu", dev.MTU())
	return dump(dev, capture)
}

// dump prints and writes the packets that come out of dev, until it is closed. The answers
// to pings go back into dev.
func dump(dev link.Link, capture *pcap.Writer) error {
	var packets atomic.Uint64
	defer app.ReportStats(func() string { return fmt.Sprintf("packets %d", packets.Load()) })()

	burst := link.NewBurst()
	for {
		err := dev.ReadBurst(burst)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		now, answers := time.Now(), 0
		for i := range burst.Len() {
			p := burst.At(i)
			packets.Add(1)
			fmt.Println(now.Format("15:04:05.000000"), packet.Describe(p))
			if capture != nil {
				if err := capture.Write(now, p); err != nil {
					return err
				}
			}
			if *answer && packet.EchoReply(p) {
				burst.Set(answers, p)
				answers++
			}
		}
		burst.Truncate(answers)
		if err := dev.WriteBurst(burst); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}
