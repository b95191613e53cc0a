package health

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// This file is the probe by ping: OpenEcho, in the keeper, opens the socket, and Echo, in the
// worker, sends requests through it.

// OpenEcho returns a function that opens a raw ICMP socket, connected to an address and tied
// to a device: so it receives no other host's replies, and sends nothing outside of the
// tunnel. That needs CAP_NET_RAW. A ping socket would not; but whether a program may have one
// depends on the host (net.ipv4.ping_group_range, nobody by default).
func OpenEcho(device string) func(netip.Addr) (*net.IPConn, error) {
	return func(to netip.Addr) (*net.IPConn, error) {
		var bound error
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			if err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) }); err != nil {
				return err
			}
			return bound
		}}
		network := "ip4:icmp"
		if to.Is6() {
			network = "ip6:ipv6-icmp"
		}
		conn, err := d.Dial(network, to.String())
		if err != nil {
			return nil, err
		}
		return conn.(*net.IPConn), nil
	}
}

// echoIn is how long an echo reply may take.
const echoIn = 3 * time.Second

// Echo returns a function that sends an echo request (RFC 792; RFC 4443, section 4.1) to one
// of the addresses, which all belong to the same host, and reports whether that has answered.
// If it has not, the next call uses the next address. The function is not safe for concurrent
// use. open opens the socket, which the function closes.
func Echo(peer []netip.Addr, open func(netip.Addr) (*net.IPConn, error)) func(context.Context) bool {
	turn := 0
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, echoIn)
		defer cancel()
		if len(peer) == 0 {
			return false
		}
		to := peer[turn%len(peer)]
		conn, err := open(to)
		answered := err == nil && echo(ctx, conn, to)
		if !answered {
			turn++
		}
		return answered
	}
}

// echo sends a request, and waits for the reply until ctx ends. It closes the socket.
func echo(ctx context.Context, conn *net.IPConn, to netip.Addr) bool {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var content [16]byte // nobody can guess it, so a reply with it answers this request
	rand.Read(content[:])
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{
		ID: int(binary.BigEndian.Uint16(content[:])), Seq: 1, Data: content[:],
	}}
	reply, protocol := icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if to.Is6() {
		request.Type, reply, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	wire, err := request.Marshal(nil) // with IPv6 the kernel adds the checksum
	if err != nil {
		return false
	}
	if !repeat(ctx, conn, wire) {
		return false
	}
	for buf := make([]byte, 1500); ; {
		n, _, err := conn.ReadFrom(buf) // without the IPv4 header, unlike Read
		if err != nil {
			return false
		}
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil || m.Type != reply {
			continue
		}
		if body, ok := m.Body.(*icmp.Echo); ok && bytes.Equal(body.Data, content[:]) {
			return true
		}
	}
}
