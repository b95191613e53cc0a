package app

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
)

// Prefixes defines a flag that holds one or more addresses with their prefix
// lengths, separated by commas, such as "10.8.0.1/24,fd00:8::1/64". def is its
// default, in the same form; the empty list is allowed.
func Prefixes(name, def, usage string) *[]netip.Prefix {
	list := new(prefixList)
	if err := list.Set(def); err != nil {
		panic(err) // a wrong default is a bug of the program
	}
	flag.Var(list, name, usage)
	return (*[]netip.Prefix)(list)
}

type prefixList []netip.Prefix

// maxPrefixes bounds the list: an interface with more addresses is a mistake.
const maxPrefixes = 16

func (l *prefixList) String() string {
	var parts []string
	for _, p := range *l {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ",")
}

func (l *prefixList) Set(s string) error {
	*l = nil
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%q is not an address with a prefix length, such as 10.8.0.1/24 or fd00:8::1/64", part)
		}
		if *l = append(*l, p); len(*l) > maxPrefixes {
			return fmt.Errorf("more than %d addresses", maxPrefixes)
		}
	}
	return nil
}
