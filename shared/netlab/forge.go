package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An ICMP is an ICMP error message: its type and code (RFC 792, RFC 4443), and for
// "fragmentation needed" and "packet too big" the MTU that it claims, in bytes.
type ICMP struct {
	Type, Code byte
	MTU        uint32
}

func (m ICMP) String() string { return fmt.Sprintf("ICMP %d/%d", m.Type, m.Code) }

// ICMPErrors returns all error messages that can be sent to a host with an address of
// addr's family. The MTU that they claim is the smallest that a host accepts.
func ICMPErrors(addr netip.Addr) (list []ICMP) {
	add := func(typ byte, codes byte, mtu uint32) {
		for code := range codes {
			list = append(list, ICMP{typ, code, mtu})
		}
	}
	if addr.Is4() {
		add(3, 16, 576) // destination unreachable; code 4 is fragmentation needed
		add(4, 1, 0)    // source quench
		add(11, 2, 0)   // time exceeded
		add(12, 3, 0)   // parameter problem
		return list
	}
	add(1, 9, 0)    // destination unreachable
	add(2, 1, 1280) // packet too big
	add(3, 2, 0)    // time exceeded
	add(4, 11, 0)   // parameter problem
	return list
}

// Forge sends the message to a client, as if a UDP datagram from the client to the server
// had caused it. It returns when the client's host has received the message.
func (h *Host) Forge(t testing.TB, m ICMP, client *Host, from, server netip.AddrPort) {
	t.Helper()
	before := client.icmpIn(t)
	var err error
	h.Do(func() { err = m.send(from, server) })
	if err != nil {
		t.Fatalf("%s# %v: %v", h.Name, m, err)
	}
	Eventually(t, runLimit, fmt.Sprintf("%s gets the forged %v", client.Name, m), func() bool { return client.icmpIn(t) > before })
}

// send sends the message to the sender of the datagram that it is about.
func (m ICMP) send(from, to netip.AddrPort) error {
	payload := make([]byte, 4, 100)
	payload[0], payload[1] = m.Type, m.Code
	payload = binary.BigEndian.AppendUint32(payload, m.MTU)
	const length = 8 + 32 // of the datagram, in bytes
	family, protocol := unix.AF_INET6, unix.IPPROTO_ICMPV6
	var dst unix.Sockaddr = &unix.SockaddrInet6{Addr: from.Addr().As16()}
	if from.Addr().Is4() {
		family, protocol = unix.AF_INET, unix.IPPROTO_ICMP
		dst = &unix.SockaddrInet4{Addr: from.Addr().As4()}
		payload = append(payload, 0x45, 0, 0, 20+length, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	} else {
		payload = append(payload, 0x60, 0, 0, 0, 0, length, unix.IPPROTO_UDP, 64)
	}
	payload = append(append(payload, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	payload = binary.BigEndian.AppendUint16(payload, from.Port())
	payload = binary.BigEndian.AppendUint16(payload, to.Port())
	payload = append(payload, 0, length, 0, 0)
	payload = append(payload, make([]byte, length-8)...)
	if from.Addr().Is4() { // the kernel does it for IPv6
		binary.BigEndian.PutUint16(payload[18:], checksum(payload[8:28]))
		binary.BigEndian.PutUint16(payload[2:], checksum(payload))
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, payload, 0, dst)
}

// checksum returns the internet checksum of b (RFC 1071), which must have an even length.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// icmpIn returns how many ICMP and ICMPv6 messages the host has received.
func (h *Host) icmpIn(t testing.TB) (n int) {
	t.Helper()
	found := 0
	columns := strings.Fields(h.Run(t, "grep", "-h", "-e", "^Icmp: [0-9]", "-e", "^Icmp6InMsgs", "/proc/net/snmp", "/proc/net/snmp6"))
	for i, c := range columns {
		if c == "Icmp:" || c == "Icmp6InMsgs" { // the number comes next
			count, err := strconv.Atoi(columns[i+1])
			if err != nil {
				t.Fatal(err)
			}
			n += count
			found++
		}
	}
	if found != 2 {
		t.Fatalf("%s# no counters of ICMP in /proc/net", h.Name)
	}
	return n
}
