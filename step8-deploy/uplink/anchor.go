package uplink

import (
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An anchor keeps the kernel translating addresses through a flush of the firewall. When
// the last rule that translates goes, the kernel no longer knows which client an answer
// belongs to: it takes the next one for this host, which resets the connection before
// anybody can put the rule back. And a connection that a client opens meanwhile leaves,
// for as long as it lasts, with a source address that no answer can reach.
//
// So there is one more such rule,
//
//	nft add table inet stepvpn_nat_vpn0 { flags owner; chain postrouting {
//		type nat hook postrouting priority srcnat + 1; iifname vpn0 masquerade; } }
//
// in a table that has an owner, which is our socket: nobody else can change it, "flush
// ruleset" leaves it alone (Linux 5.12, nft_flush in net/netfilter/nf_tables_api.c), and
// it is removed when the socket is closed, at the latest when this process ends.
type anchor struct{ socket int }

// Constants of linux/netfilter/nf_tables.h and linux/netfilter_ipv4.h that
// golang.org/x/sys does not have.
const (
	tableHasOwner   = 2 // NFT_TABLE_F_OWNER
	postRouting     = 4 // NF_INET_POST_ROUTING
	behindSourceNAT = 101
)

// newAnchor makes an anchor for a device, or says why this kernel can't have one.
func newAnchor(device string) (a *anchor, err error) {
	table := nl.ZeroTerminated("stepvpn_nat_" + device)
	chain := nl.ZeroTerminated("postrouting")

	hook := nl.NewRtAttr(unix.NFTA_CHAIN_HOOK, nil)
	hook.AddRtAttr(unix.NFTA_HOOK_HOOKNUM, nl.BEUint32Attr(postRouting))
	hook.AddRtAttr(unix.NFTA_HOOK_PRIORITY, nl.BEUint32Attr(behindSourceNAT))

	rule := nl.NewRtAttr(unix.NFTA_RULE_EXPRESSIONS, nil)
	expression := func(name string) *nl.RtAttr {
		e := rule.AddRtAttr(unix.NFTA_LIST_ELEM, nil)
		e.AddRtAttr(unix.NFTA_EXPR_NAME, nl.ZeroTerminated(name))
		return e.AddRtAttr(unix.NFTA_EXPR_DATA, nil)
	}
	meta := expression("meta")
	meta.AddRtAttr(unix.NFTA_META_DREG, nl.BEUint32Attr(unix.NFT_REG_1))
	meta.AddRtAttr(unix.NFTA_META_KEY, nl.BEUint32Attr(unix.NFT_META_IIFNAME))
	cmp := expression("cmp")
	cmp.AddRtAttr(unix.NFTA_CMP_SREG, nl.BEUint32Attr(unix.NFT_REG_1))
	cmp.AddRtAttr(unix.NFTA_CMP_OP, nl.BEUint32Attr(unix.NFT_CMP_EQ))
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	cmp.AddRtAttr(unix.NFTA_CMP_DATA, nil).AddRtAttr(unix.NFTA_DATA_VALUE, name)
	expression("masq")

	batch := [][]byte{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0),
		message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewRtAttr(unix.NFTA_TABLE_NAME, table),
			nl.NewRtAttr(unix.NFTA_TABLE_FLAGS, nl.BEUint32Attr(tableHasOwner))),
		message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, table),
			nl.NewRtAttr(unix.NFTA_CHAIN_NAME, chain), hook, nl.NewRtAttr(unix.NFTA_CHAIN_TYPE, nl.ZeroTerminated("nat"))),
		message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, nl.NewRtAttr(unix.NFTA_RULE_TABLE, table),
			nl.NewRtAttr(unix.NFTA_RULE_CHAIN, chain), rule),
		message(unix.NFNL_MSG_BATCH_END, 0),
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	a = &anchor{fd}
	if err := a.ask(batch); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// message returns one message of a batch. The kernel acknowledges messages of nftables'
// own kinds.
func message(kind, flags int, attributes ...*nl.RtAttr) []byte {
	header := &nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET, Version: nl.NFNETLINK_V0}
	switch kind {
	case unix.NFNL_MSG_BATCH_BEGIN, unix.NFNL_MSG_BATCH_END:
		header = &nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, ResId: nl.Swap16(unix.NFNL_SUBSYS_NFTABLES)}
	default:
		kind |= unix.NFNL_SUBSYS_NFTABLES << 8
		flags |= unix.NLM_F_ACK
	}
	r := nl.NewNetlinkRequest(kind, flags)
	r.AddData(header)
	for _, a := range attributes {
		r.AddData(a)
	}
	return r.Serialize()
}

// ask sends a batch, and waits for an answer to each of its messages except the first and
// the last.
func (a *anchor) ask(batch [][]byte) error {
	const patience = 5 * time.Second
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(a.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	var all []byte
	for _, m := range batch {
		all = append(all, m...)
	}
	if err := unix.Sendto(a.socket, all, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 1<<16)
	for left := len(batch) - 2; left > 0; {
		n, _, err := unix.Recvfrom(a.socket, answer, 0)
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			if errno := -int32(nl.NativeEndian().Uint32(m.Data)); errno != 0 {
				return unix.Errno(errno)
			}
			left--
		}
	}
	return nil
}

// close removes the table.
func (a *anchor) close() error {
	if a == nil {
		return nil
	}
	return unix.Close(a.socket)
}
