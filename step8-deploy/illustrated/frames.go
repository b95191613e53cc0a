package illustrated

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"html/template"
	"net"
	"net/netip"
	"time"

	"stepvpn/step2-tun/packet"
)

// Lengths in bytes.
const (
	ethernetLen = 14
	ipLen       = packet.IPv4HeaderLen
	udpLen      = packet.UDPHeaderLen
	// headersLen is what is in front of a message of ours: Ethernet, IP, UDP.
	headersLen = ethernetLen + ipLen + udpLen
)

// An end is a side of a frame: the addresses that it has there.
type end struct {
	mac  net.HardwareAddr
	addr netip.AddrPort
}

// What follows is what a kernel writes in front of a message. The course's code never sees it.

// frame returns an Ethernet frame with a UDP datagram over IPv4 in it.
func frame(from, to end, ttl byte, id uint16, payload []byte) []byte {
	n := udpLen + len(payload)
	udp := binary.BigEndian.AppendUint16(nil, from.addr.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.addr.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(n))
	udp = append(append(udp, 0, 0), payload...)
	src, dst := from.addr.Addr().As4(), to.addr.Addr().As4()
	pseudo := append(append(src[:], dst[:]...), 0, byte(packet.ProtoUDP))
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(n))
	binary.BigEndian.PutUint16(udp[6:], packet.Checksum(append(pseudo, udp...)))
	return ethernet(from, to, ipv4(from.addr.Addr(), to.addr.Addr(), packet.ProtoUDP, ttl, id, udp))
}

func ethernet(from, to end, ip []byte) []byte {
	b := append([]byte(nil), to.mac...)
	b = append(b, from.mac...)
	return append(append(b, 0x08, 0x00), ip...)
}

func ipv4(src, dst netip.Addr, p packet.Protocol, ttl byte, id uint16, payload []byte) []byte {
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(ipLen+len(payload)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0x40, 0, ttl, byte(p), 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], packet.Checksum(b))
	return append(b, payload...)
}

// ping returns the packet that ping(8) makes, of 84 bytes, sent at a time.
func ping(src, dst netip.Addr, at time.Time) []byte {
	b := []byte{8, 0, 0, 0, 0x2a, 0x17, 0, 1}
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Unix()))
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Nanosecond()/1000))
	for i := byte(0x10); i < 0x38; i++ {
		b = append(b, i)
	}
	binary.BigEndian.PutUint16(b[2:], packet.Checksum(b))
	return ipv4(src, dst, packet.ProtoICMP, 64, 0x5a3c, b)
}

// forwarded returns what is left of a packet behind a server that masquerades: the next
// hop's TTL, the server's address, another checksum.
func forwarded(p []byte, src netip.Addr) []byte {
	h, err := packet.AsIPv4(p)
	if err != nil {
		panic(err) // the ping above
	}
	return ipv4(src, h.Dst(), h.Protocol(), byte(h.TTL()-1), binary.BigEndian.Uint16(p[4:]), h.Payload())
}

// A reader describes a frame field by field.
type reader struct {
	name string // of the value that has the frame, or the plaintext
	b    []byte
	base int // where b[0] is in the frame
	at   int
}

func (r *reader) take(n int) []byte {
	b := r.b[r.at : r.at+n]
	r.at += n
	return b
}

// field returns the next n bytes as a field.
func (r *reader) field(n int, name, tshark, value, text string) Field {
	at := r.base + r.at
	return Field{Name: name, At: at, Bytes: r.take(n), Value: value, Text: words(text), Tshark: tshark}
}

// slice is JavaScript for a part of the frame.
func (r *reader) slice(from, to int) string { return fmt.Sprintf("%s.slice(%d, %d)", r.name, from, to) }

func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.b[r.at:]) }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.b[r.at:]) }
func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.b[r.at:]) }

func (r *reader) ethernet(to, from string) Layer {
	mac := func() string { return net.HardwareAddr(r.b[r.at : r.at+6]).String() }
	return Layer{Name: "Ethernet", Kind: "ethernet", Fields: []Field{
		r.field(6, "destination", "eth.dst", mac(), to),
		r.field(6, "source", "eth.src", mac(), from),
		r.field(2, "type", "eth.type", "0x0800", "What follows is IPv4."),
	}}
}

// ipv4 describes an IPv4 header. The texts say what its addresses and its TTL mean here.
func (r *reader) ipv4(name, kind, what, ttl, src, dst string) Layer {
	start := r.at
	total, proto := binary.BigEndian.Uint16(r.b[start+2:]), packet.Protocol(r.b[start+9])
	addr := func() string { return netip.AddrFrom4([4]byte(r.b[r.at:])).String() }
	l := Layer{Name: name, Kind: kind, Fields: []Field{
		r.field(1, "version, header length", "ip.version", "4, 5 × 4 bytes", "This is version 4 of IP. The header has five words of four bytes: no options."),
		r.field(1, "type of service", "ip.dsfield", "0", "Nothing special is asked for. A router could put a mark here to say that its queue is getting long (ECN)."),
		r.field(2, "total length", "ip.len", fmt.Sprint(total), what),
		r.field(2, "identification", "ip.id", fmt.Sprintf("0x%04x", r.uint16()), "If a router cut the packet into fragments, all of them would carry this number."),
		r.field(2, "flags, fragment offset", "ip.frag_offset", "don't fragment",
			"A router that can't pass a packet of this length on must drop it and say so, instead of cutting it. That is how a sender learns what the path carries."),
		r.field(1, "time to live", "ip.ttl", fmt.Sprint(r.b[r.at]), ttl),
		r.field(1, "protocol", "ip.proto", fmt.Sprintf("%d, %v", byte(proto), proto), "This says what the payload is."),
		r.field(2, "header checksum", "ip.checksum", fmt.Sprintf("0x%04x", r.uint16()),
			"This is the sum of the header's 16-bit words (step 2). It finds errors, not attackers: anybody can calculate it. Each router calculates it anew, because it changes the TTL."),
		r.field(4, "source", "ip.src", addr(), src),
		r.field(4, "destination", "ip.dst", addr(), dst),
	}}
	l.Fields[7].Code = fmt.Sprintf("const header = %s\nheader[10] = header[11] = 0\nreturn checksum(header)", r.slice(start, start+ipLen))
	return l
}

func (r *reader) udp() Layer {
	start, n := r.at, int(binary.BigEndian.Uint16(r.b[r.at+4:]))
	port := func() string { return fmt.Sprint(r.uint16()) }
	l := Layer{Name: "UDP", Kind: "udp", Fields: []Field{
		r.field(2, "source port", "udp.srcport", port(), portText(r.uint16())),
		r.field(2, "destination port", "udp.dstport", port(), portText(r.uint16())),
		r.field(2, "length", "udp.length", fmt.Sprint(n), "It counts this header's 8 bytes, and the message."),
		r.field(2, "checksum", "udp.checksum", fmt.Sprintf("0x%04x", r.uint16()),
			"This is the sum over addresses, ports and all of the message. Like IP's, it finds accidents only: eve can calculate it anew after she has changed something. It is the tag, further on, that finds her out."),
	}}
	l.Fields[3].Code = fmt.Sprintf("const udp = %s\nudp[6] = udp[7] = 0\nconst addresses = %s\nreturn checksum(cat(addresses, [0, 17, 0, udp.length], udp))",
		r.slice(start, start+n), r.slice(start-8, start))
	return l
}

func (r *reader) icmp() Layer {
	start := r.at
	l := Layer{Name: "ICMP echo request", Kind: "icmp", Fields: []Field{
		r.field(1, "type", "icmp.type", "8", "This is an echo request, a ping. The answer has type 0."),
		r.field(1, "code", "icmp.code", "0", "Echo requests use only code 0."),
		r.field(2, "checksum", "icmp.checksum", fmt.Sprintf("0x%04x", r.uint16()), "It covers all of the ICMP message."),
		r.field(2, "identifier", "icmp.ident", fmt.Sprintf("0x%04x", r.uint16()), "It tells apart the ping programs that run on alice's machine."),
		r.field(2, "sequence number", "icmp.seq", fmt.Sprint(r.uint16()), "This is the first ping. The next one has number 2."),
		r.field(8, "time, seconds", "icmp.data_time", time.Unix(int64(r.uint64()), 0).UTC().Format(time.DateTime),
			"Ping sent it at this time, as alice's machine counts: since 1970, little-endian. The answer brings the time back, and ping subtracts: that is the time that it prints."),
		r.field(8, "time, microseconds", "data.data", fmt.Sprint(r.uint64()), "This is the rest of the time."),
		r.field(40, "filling", "data.data", "0x10, 0x11, …", "These bytes mean nothing. They make the packet as long as a ping usually is."),
	}}
	l.Fields[2].Code = fmt.Sprintf("const icmp = %s\nicmp[2] = icmp[3] = 0\nreturn checksum(icmp)", r.slice(start, start+64))
	return l
}

// header describes the first 4 bytes of each message of ours.
func (r *reader) header(kind byte, name, text string, tshark bool) []Field {
	known := func(s string) string {
		if tshark {
			return s
		}
		return ""
	}
	return []Field{
		r.field(1, "type", known("wg.type"), fmt.Sprintf("%d, %s", kind, name), text),
		r.field(3, "reserved", known("wg.reserved"), "0", "These bytes are always zero, as in WireGuard. An eavesdropper's program can recognise the protocol by them."),
	}
}

// portText says whose port it is.
func portText(port uint16) string {
	if port == serverAddr.Port() {
		return "The VPN server listens on this port."
	}
	return "Alice's kernel has chosen this port for the client."
}

// short returns the first bytes in hexadecimal.
func short(b []byte) string {
	s := hex.EncodeToString(b)
	if len(s) > 16 {
		s = s[:16] + "…"
	}
	return s
}

// code puts a snippet into a text.
func code(s string) string { return "<code>" + template.HTMLEscapeString(s) + "</code>" }
