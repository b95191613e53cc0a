package uplink

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/gateway"
	"stepvpn/step8-deploy/reach"
	"stepvpn/step8-deploy/watch"
)

// watch sends a value when something on this host has changed that may concern the gateway,
// until ctx ends. The Keeper itself may have changed it.
func (k *Keeper) watch(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	start := func(protocol int, relevant func([]syscall.NetlinkMessage) bool, groups ...uint) {
		if err := watch.Netlink(ctx, protocol, relevant, tell, groups...); err != nil {
			slog.Warn("changes to this host are noticed only every 10 s", "error", err)
		}
	}
	device := 0
	if dev, err := net.InterfaceByName(k.config.Device.Name); err == nil {
		device = dev.Index
	}
	go start(unix.NETLINK_ROUTE, func(messages []syscall.NetlinkMessage) bool { return aboutHost(messages, device) }, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_IFINFO,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	chain := []byte(gateway.Chain(k.config.Device.Name))
	_, name, _ := strings.Cut(string(reach.Name(k.config.Device.Name)), " ")
	go start(unix.NETLINK_NETFILTER, func(messages []syscall.NetlinkMessage) bool {
		for _, m := range messages {
			if bytes.Contains(m.Data, chain) || bytes.Contains(m.Data, []byte(name)) {
				return true
			}
		}
		return false
	}, unix.NFNLGRP_NFTABLES)
	return changed
}

// aboutHost reports whether one of the messages concerns the gateway. Of messages about
// routes, only those about default routes do, as a router's other routes change too often to
// look at the host each time, and those about a route that the device has lost, as it may
// have been a client's.
func aboutHost(messages []syscall.NetlinkMessage, device int) bool {
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWROUTE && m.Header.Type != unix.RTM_DELROUTE {
			return true
		}
		if len(m.Data) < unix.SizeofRtMsg {
			continue
		}
		r := nl.DeserializeRtMsg(m.Data)
		if r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		if r.Dst_len == 0 || m.Header.Type == unix.RTM_DELROUTE && by(m.Data[unix.SizeofRtMsg:], device) {
			return true
		}
	}
	return false
}

// by reports whether a route with these attributes goes through a device.
func by(attributes []byte, device int) bool {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return false
	}
	for _, a := range list {
		if a.Attr.Type == unix.RTA_OIF && len(a.Value) == 4 {
			return int(nl.NativeEndian().Uint32(a.Value)) == device
		}
	}
	return false
}
