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

// AddrPorts defines a flag that holds one or more addresses with a port, separated
// by commas, such as "1.1.1.1,[2606:4700:4700::1111]:53". An address without a port
// gets port. def is its default, in the same form; the empty list is an error.
func AddrPorts(name, def string, port uint16, usage string) *[]netip.AddrPort {
	list := &addrPortList{port: port}
	if err := list.Set(def); err != nil {
		panic(err) // a wrong default is a bug of the program
	}
	flag.Var(list, name, usage)
	return &list.addrs
}

type addrPortList struct {
	addrs []netip.AddrPort
	port  uint16
}

// maxAddrPorts bounds the list: more addresses of one kind are a mistake.
const maxAddrPorts = 8

func (l *addrPortList) String() string {
	var parts []string
	for _, a := range l.addrs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ",")
}

func (l *addrPortList) Set(s string) error {
	l.addrs = nil
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		a, err := netip.ParseAddrPort(part)
		if err != nil || a.Port() == 0 {
			addr, err := netip.ParseAddr(strings.Trim(part, "[]"))
			if err != nil {
				return fmt.Errorf("%q is not an address, such as 1.1.1.1 or [2606:4700:4700::1111]:53", part)
			}
			a = netip.AddrPortFrom(addr, l.port)
		}
		if l.addrs = append(l.addrs, a); len(l.addrs) > maxAddrPorts {
			return fmt.Errorf("more than %d addresses", maxAddrPorts)
		}
	}
	return nil
}

// Strings defines a flag that holds any number of words, separated by commas. check
// returns an error that says what is wrong with a word, or nil.
func Strings(name string, check func(string) error, usage string) *[]string {
	list := &stringList{check: check}
	flag.Var(list, name, usage)
	return &list.words
}

type stringList struct {
	words []string
	check func(string) error
}

func (l *stringList) String() string { return strings.Join(l.words, ",") }

func (l *stringList) Set(s string) error {
	l.words = nil
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if err := l.check(part); err != nil {
			return err
		}
		l.words = append(l.words, part)
	}
	return nil
}
