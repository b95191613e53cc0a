package guard

import (
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"stepvpn/step5-nat/policy"
)

// OfKernel limits a rule to what the kernel itself asks, for the way back of a packet
// that has come, say: it asks as root. (In a user namespace that has no root, which is the
// lab of an ordinary user, the rule is for everybody.)
func OfKernel(r *policy.Rule) {
	numbers, err := os.ReadFile("/proc/self/uid_map") // user_namespaces(7)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(numbers)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "0" {
			r.UIDRange = netlink.NewRuleUIDRange(0, 0)
		}
	}
}
