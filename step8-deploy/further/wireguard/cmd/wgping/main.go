// Wgping opens one session of the WireGuard protocol, sends one ping through it, and says what is
// in each message. It has no session layer, no timers and no device: the handshake is that of
// step 4, the codes in it are step 7's, and what is left of the protocol is in session.go.
//
// With -keylog it also writes down the keys that Wireshark needs to read the session. So it is a
// tool for the demo, and no VPN.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/shared/link"
	"stepvpn/step2-tun/packet"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step8-deploy/further/wireguard"
	"stepvpn/step8-deploy/further/wireguard/conf"
)

var (
	file    = flag.String("conf", "wg0.conf", "`file` of a client, as for wg-quick(8); its first peer is the server")
	to      = flag.String("to", "10.8.0.1", "send the ping to this IPv4 `address` in the tunnel")
	keylog  = flag.String("keylog", "", "write the session's keys into this new `file`, for Wireshark")
	timeout = flag.Duration("timeout", 5*time.Second, "how long to wait for the answer")
)

func main() {
	app.Main("Wgping sends one ping through a session of the WireGuard protocol, and says what is in each message.", run)
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	target, err := netip.ParseAddr(*to)
	if err != nil || !target.Is4() {
		return app.Usage("-to %q is no IPv4 address", *to)
	}
	client, err := conf.Load(*file)
	if err != nil {
		return err
	}
	source, ok := ipv4(client.Addresses)
	if !ok {
		return fmt.Errorf("%s gives no IPv4 address to send from", *file)
	}
	server := client.Peers[0]
	socket, err := new(net.Dialer).DialContext(ctx, "udp", server.Endpoint)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	// This adds mac1 and mac2 to an initiation. From a response it takes them off, and drops the
	// response if its mac1 is not made for our public key.
	wire := cookie.ClientBothWays(link.Single(socket), server.PublicKey, client.PrivateKey.Public(), new(link.Drops))

	keys := wireguard.Handshake(client.PrivateKey, &server.PublicKey, server.PresharedKey)
	keys.Initiator, keys.Prologue = true, []byte(wireguard.Format.Prologue)
	handshake, err := noise.New(keys)
	if err != nil {
		return err
	}
	s := &session{handshake: handshake, ours: rand.Uint32()}
	initiation, err := s.initiate(time.Now())
	if err != nil {
		return err
	}
	if err := writeKeys(handshake, keys); err != nil {
		return err
	}
	fmt.Printf("-> initiation, %d bytes: 1 0 0 0, ours %08x, e 32; encrypted: s 32+16, time 12+16; mac1 16, mac2 16\n",
		len(initiation)+cookie.Overhead, s.ours)
	response, err := exchange(ctx, wire, initiation, s.respond)
	if err != nil {
		return err
	}
	fmt.Printf("<- response, %d bytes: 2 0 0 0, theirs %08x, ours %08x, e 32; encrypted: nothing 0+16; mac1 16, mac2 16\n",
		len(response)+cookie.Overhead, s.theirs, s.ours)

	ping := echo(source, target)
	data := s.seal(0, ping)
	say("->", "theirs", data, ping)
	var answer []byte
	data, err = exchange(ctx, wire, data, func(m []byte) bool {
		answer = s.open(m)
		return answer != nil
	})
	if err != nil {
		return err
	}
	say("<-", "ours", data, answer)
	return nil
}

// say prints what is in a data message.
func say(way, whose string, data, p []byte) {
	fmt.Printf("%s data, %d bytes: 4 0 0 0, %s %08x, counter %d; encrypted: %d+16: %s\n", way, len(data), whose,
		binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint64(data[8:]), len(data)-dataHeader-noise.TagLen, packet.Describe(p))
}

// exchange sends a message once, and returns the first one that is expected. It reads whatever
// comes until ctx ends.
func exchange(ctx context.Context, wire link.Link, m []byte, expected func([]byte) bool) ([]byte, error) {
	b := link.NewBurst()
	copy(b.Alloc(len(m)), m)
	if err := wire.WriteBurst(b); err != nil {
		return nil, err
	}
	for {
		if err := wire.ReadBurst(b); ctx.Err() != nil {
			return nil, errors.New("no answer: the server does not know this client, has another key, or does not speak this protocol")
		} else if err != nil {
			return nil, err
		}
		if m := b.At(0); expected(m) {
			return m, nil
		}
	}
}

func ipv4(list []netip.Prefix) (netip.Addr, bool) {
	for _, p := range list {
		if p.Addr().Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// echo is an ICMP echo request (RFC 791, section 3.1; RFC 792) that carries a line of text.
func echo(from, to netip.Addr) []byte {
	text := "Whoever has the keys can read this."
	icmp := append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, text...)
	binary.BigEndian.PutUint16(icmp[2:], packet.Checksum(icmp))
	ip := []byte{0x45, 0, 0, byte(packet.IPv4HeaderLen + len(icmp)), 0, 0, 0, 0, 64, 1, 0, 0}
	ip = append(append(ip, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip))
	return append(ip, icmp...)
}

// writeKeys writes a key log, if one is wanted: what Wireshark's preference "WireGuard key log
// filename" takes (https://wiki.wireshark.org/WireGuard).
func writeKeys(h *noise.Handshake, keys noise.Config) error {
	ephemeral, ok := h.Ephemeral()
	if *keylog == "" || !ok {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "LOCAL_STATIC_PRIVATE_KEY = %s\n", noise.FormatKey(*keys.Static))
	fmt.Fprintf(&b, "REMOTE_STATIC_PUBLIC_KEY = %s\n", noise.FormatKey(*keys.PeerStatic))
	fmt.Fprintf(&b, "LOCAL_EPHEMERAL_PRIVATE_KEY = %s\n", noise.FormatKey(ephemeral))
	fmt.Fprintf(&b, "PRESHARED_KEY = %s\n", noise.FormatKey(*keys.PSK))
	return atomicfile.Create(*keylog, []byte(b.String()), atomicfile.Options{Mode: 0o600})
}
