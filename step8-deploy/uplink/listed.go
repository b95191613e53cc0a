package uplink

import (
	"slices"
	"strings"

	"stepvpn/shared/command"
	"stepvpn/step5-nat/gateway"
	"stepvpn/step5-nat/hostnet"
)

// This file returns the gateway's iptables rules as text, which the keeper compares with an
// earlier text to see whether another program has changed them.

// listed returns the rules of iptables that the gateway of a device has made: those of its
// chains, and the jumps to them. complete says that there are some in each table, for each
// family that is served. A family that iptables does not have on this host has no rules.
func listed(device string, served map[hostnet.Family][]string) (text string, complete bool, err error) {
	var b strings.Builder
	complete = true
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		program := "iptables"
		if f == hostnet.V6 {
			program = "ip6tables"
		}
		for _, table := range tables {
			out, err := command.Run("", program, "-w", "5", "-t", table, "-S")
			if err != nil && len(served[f]) > 0 {
				return "", false, err
			}
			jumps := 0
			for line := range strings.Lines(out) {
				words := strings.Fields(line)
				if !slices.Contains(words, gateway.Chain(device)) {
					continue
				}
				if words[len(words)-1] == gateway.Chain(device) && words[0] == "-A" {
					jumps++
				}
				b.WriteString(program + " -t " + table + " " + line)
			}
			complete = complete && (jumps > 0 || len(served[f]) == 0)
		}
	}
	return b.String(), complete, nil
}

// tables are the tables of iptables in which the gateway has a chain.
var tables = []string{"raw", "mangle", "filter", "nat"}
