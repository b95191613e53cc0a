package supervise

import (
	"context"
	"encoding/binary"
	"net"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"stepvpn/step8-deploy/watch"
)

// WatchNetwork calls changed whenever links, addresses or routes of this host change, until
// ctx ends. It ignores routes outside of the main table, and changes of the interface named
// device, which is the tunnel itself.
func WatchNetwork(ctx context.Context, device string, changed func()) error {
	about := newFilter(device)
	return watch.Netlink(ctx, unix.NETLINK_ROUTE, about.relevant, changed, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
}

// A filter selects messages about the underlay.
type filter struct {
	device string // the tunnel
	index  int    // of the last interface with this name, or -1: messages about it may come after it is gone
}

func newFilter(device string) *filter {
	f := &filter{device: device, index: -1}
	if itf, err := net.InterfaceByName(device); err == nil {
		f.index = itf.Index
	}
	return f
}

// relevant reports whether one of the messages counts.
func (f *filter) relevant(messages []syscall.NetlinkMessage) bool {
	counts := false
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			if len(m.Data) < unix.SizeofIfInfomsg {
				continue
			}
			if isNamed(m.Data[unix.SizeofIfInfomsg:], f.device) {
				f.index = int(nl.DeserializeIfInfomsg(m.Data).Index)
				continue
			}
			counts = true
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if len(m.Data) >= unix.SizeofIfAddrmsg && int(nl.DeserializeIfAddrmsg(m.Data).Index) != f.index {
				counts = true
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if len(m.Data) < unix.SizeofRtMsg {
				continue
			}
			route := nl.DeserializeRtMsg(m.Data)
			if route.Table == unix.RT_TABLE_MAIN && outInterface(m.Data[unix.SizeofRtMsg:]) != f.index {
				counts = true
			}
		}
	}
	return counts
}

// isNamed reports whether the attributes of a link give it that name.
func isNamed(attributes []byte, name string) bool {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return false
	}
	for _, a := range list {
		if a.Attr.Type == unix.IFLA_IFNAME {
			return string(a.Value) == name+"\x00"
		}
	}
	return false
}

// outInterface returns the index of a route's outgoing interface, or 0 if it names none.
func outInterface(attributes []byte) int {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return 0
	}
	for _, a := range list {
		if a.Attr.Type == unix.RTA_OIF && len(a.Value) == 4 {
			return int(binary.NativeEndian.Uint32(a.Value))
		}
	}
	return 0
}
