package netlab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A wire takes whole packets, and what the kernel says in front of each about joining and
// checksums, so that a super-packet of 64 KB crosses in one piece: 1 Gbit/s costs little.
const (
	wireQueue  = 1 << 14 // packets on the way, in each direction
	wirePacket = 1 << 17 // bytes, more than any
)

// Wire joins two hosts by a wire of their own, which has a length: each packet takes delay to
// cross it, none is lost, and none overtakes another. The interface has the given name on both
// hosts, and the addresses a and b of one network. It works as well as its test gets processor
// time, and ends with the test.
func Wire(t testing.TB, name string, delay time.Duration, a *Host, at netip.Prefix, b *Host, bt netip.Prefix) {
	t.Helper()
	var ends [2]*os.File
	for i, h := range []*Host{a, b} {
		var err error
		h.Do(func() { ends[i], err = openTUN(name) })
		if err != nil {
			t.Fatalf("netlab: a wire on %s: %v", h.Name, err)
		}
		addr := at
		if i == 1 {
			addr = bt
		}
		h.Run(t, "ip", "addr", "add", addr.String(), "dev", name)
		h.Run(t, "ip", "link", "set", name, "up", "mtu", "1500", "txqueuelen", "10000")
	}
	var running sync.WaitGroup
	for i := range ends {
		from, to := ends[i], ends[1-i]
		onTheWay := make(chan travelling, wireQueue)
		running.Go(func() {
			defer close(onTheWay)
			for buf := make([]byte, wirePacket); ; {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				onTheWay <- travelling{bytes.Clone(buf[:n]), time.Now().Add(delay)}
			}
		})
		running.Go(func() {
			for p := range onTheWay {
				time.Sleep(time.Until(p.arrives))
				to.Write(p.data) // when the other end is gone, nobody waits for it
			}
		})
	}
	t.Cleanup(func() {
		ends[0].Close()
		ends[1].Close()
		running.Wait()
	})
}

// A travelling packet is on a wire.
type travelling struct {
	data    []byte
	arrives time.Time
}

// openTUN makes a TUN device that lets super-packets through, in the network namespace of the
// thread that calls it.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
