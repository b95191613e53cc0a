package takeover

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/watch"
)

// watch looks after the host from now on: at once when somebody changes the device or
// resolv.conf, and every lookEvery for changes that nothing announces. (HostChanged is called
// for the rest.)
func (h *Host) watch() {
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	device := h.cfg.Device
	go func() {
		about := func(messages []syscall.NetlinkMessage) bool { return aboutDevice(messages, device) }
		err := watch.Netlink(ctx, unix.NETLINK_ROUTE, about, h.HostChanged, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		if err != nil {
			slog.Warn("changes to the tunnel's device are noticed only every 10 s", "error", err)
		}
	}()
	go func() {
		if err := watch.File(ctx, resolvconf.DefaultPath, h.HostChanged); err != nil {
			slog.Warn("changes to "+resolvconf.DefaultPath+" are noticed only every 10 s", "error", err)
		}
	}()
	go func() {
		for tick := time.Tick(lookEvery); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				h.HostChanged()
			}
		}
	}()
}

// aboutDevice reports whether one of the messages is about the device, or its addresses.
func aboutDevice(messages []syscall.NetlinkMessage, device string) bool {
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if bytes.Contains(m.Data, []byte(device+"\x00")) {
				return true
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if len(m.Data) < unix.SizeofIfAddrmsg {
				continue
			}
			itf, err := net.InterfaceByIndex(int(nl.DeserializeIfAddrmsg(m.Data).Index))
			if err != nil || itf.Name == device {
				return true
			}
		}
	}
	return false
}
