package packet

import (
	"fmt"
	"strings"
)

// Describe says in one line what p is. A malformed packet is described as far
// as it could be read, followed by the reason. The line consists of numbers and of
// this package's own words: no text of the packet can get into it.
func Describe(p []byte) string {
	k, err := Parse(p)
	switch {
	case err == nil:
		return k.String()
	case k.Version == 0: // not an IP packet: there is nothing to show but its first bytes
		return fmt.Sprintf("%v (%d bytes: % x)", err, len(p), p[:min(len(p), 16)])
	default:
		return fmt.Sprintf("%v, %v", k, err)
	}
}

// String returns one line: addresses, protocol, length, TTL, and then the details.
func (k Packet) String() string {
	line := fmt.Sprintf("%-22s %-6v %5d bytes  ttl %-3d  %s",
		fmt.Sprintf("%v > %v", k.Src, k.Dst), k.Protocol, k.Len, k.TTL,
		strings.Join(k.details(), ", "))
	return strings.TrimRight(line, " ")
}

// details lists the details of the packet, those of the outer headers last.
func (k Packet) details() []string {
	var list []string
	add := func(format string, args ...any) {
		list = append(list, fmt.Sprintf(format, args...))
	}
	switch {
	case k.TCP != nil:
		add("port %d > %d, %v", k.TCP.SrcPort, k.TCP.DstPort, k.TCP.Flags)
	case k.UDP != nil:
		add("port %d > %d", k.UDP.SrcPort, k.UDP.DstPort)
	case k.ICMP != nil:
		add("%v", k.ICMP)
	}
	if f := k.Fragment; f.IsSet() {
		if f.More {
			add("fragment at %d of packet %d, more follow", f.Offset, f.ID)
		} else {
			add("fragment at %d of packet %d, the last", f.Offset, f.ID)
		}
	}
	if len(k.Options) > 0 {
		add("options: %s", join(k.Options))
	}
	if len(k.Extensions) > 0 {
		add("extension headers: %s", join(k.Extensions))
	}
	if k.BadChecksum {
		add("bad header checksum")
	}
	return list
}

// String returns the type by name if it has one, and what the message carries.
func (m ICMP) String() string {
	name := m.Name
	if name == "" || m.Code != 0 {
		name = strings.TrimSpace(fmt.Sprintf("%s type %d code %d", m.Name, m.Type, m.Code))
	}
	switch {
	case m.Echo:
		return fmt.Sprintf("%s, id %d, seq %d", name, m.ID, m.Seq)
	case m.MTU > 0:
		return fmt.Sprintf("%s, mtu %d", name, m.MTU)
	}
	return name
}

// join lists names, separated by spaces.
func join[T fmt.Stringer](list []T) string {
	var names []string
	for _, x := range list {
		names = append(names, x.String())
	}
	return strings.Join(names, " ")
}
