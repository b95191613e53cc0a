package takeover

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/step8-deploy/watch"
)

// WatchRules calls changed whenever policy rules of this host change, its routing tables other
// than the main one, or nft tables of ours, until ctx ends. It may also call changed for
// nothing: any message about nft that contains the word stepvpn counts, and this program itself
// may have made the change. So changed must look.
func WatchRules(ctx context.Context, changed func()) error {
	var mu sync.Mutex // one call of changed at a time
	told := func() {
		mu.Lock()
		defer mu.Unlock()
		changed()
	}
	var rules, tables error
	var both sync.WaitGroup
	both.Go(func() {
		rules = watch.Netlink(ctx, unix.NETLINK_ROUTE, aboutRules, told, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	})
	both.Go(func() { tables = watch.Netlink(ctx, unix.NETLINK_NETFILTER, aboutTables, told, unix.NFNLGRP_NFTABLES) })
	both.Wait()
	return errors.Join(rules, tables)
}

// aboutRules reports whether one of the messages is about a policy rule, or a route in a
// table other than the main one.
func aboutRules(messages []syscall.NetlinkMessage) bool {
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWRULE, unix.RTM_DELRULE:
			return true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			const table = 4 // its offset in an rtmsg (rtnetlink(7)); 0 and 252 mean that an attribute has the table
			if len(m.Data) >= unix.SizeofRtMsg && m.Data[table] != unix.RT_TABLE_MAIN && m.Data[table] != unix.RT_TABLE_LOCAL {
				return true
			}
		}
	}
	return false
}

// aboutTables reports whether one of the messages contains the word stepvpn, as those about
// our tables do.
func aboutTables(messages []syscall.NetlinkMessage) bool {
	for _, m := range messages {
		if bytes.Contains(m.Data, []byte("stepvpn")) {
			return true
		}
	}
	return false
}
