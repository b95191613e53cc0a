package reconcile

import (
	"encoding/binary"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"stepvpn/step6-dns/nft"
)

// What this package asks the kernel about nft's tables. (tables.go changes them, with nft.)

// Exists reports whether there is a table of nft. It asks the kernel by netlink, which is
// quicker than listing the table with nft.
func Exists(t nft.Table) bool {
	family, name, _ := strings.Cut(string(t), " ")
	r := request(unix.NFT_MSG_GETTABLE, families[family])
	r.AddData(nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(name)))
	_, err := r.Execute(unix.NETLINK_NETFILTER, 0)
	return err == nil
}

// generation returns the kernel's number for the current state of nft's tables, which each
// transaction increments. It is 0 if the kernel does not say.
func generation() uint32 {
	answers, err := request(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC).Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil || len(answers) != 1 || len(answers[0]) < nl.SizeofNfgenmsg {
		return 0
	}
	attributes, err := nl.ParseRouteAttr(answers[0][nl.SizeofNfgenmsg:])
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
			return binary.BigEndian.Uint32(a.Value)
		}
	}
	return 0
}

func request(message int, family uint8) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|message, 0)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// families has the numbers of the families that nft tables can have.
var families = map[string]uint8{"inet": unix.NFPROTO_INET, "ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6}
