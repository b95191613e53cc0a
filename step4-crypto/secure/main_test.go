package secure

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
	"stepvpn/step4-crypto/noise"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// config returns a Config for NNpsk0 with a key that is n times n.
func config(n byte) Config {
	var psk [noise.KeyLen]byte
	for i := range psk {
		psk[i] = n
	}
	return Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &psk},
		Drops:     new(link.Drops),
	}
}

// ipPacket returns an IPv4 packet, as far as a session looks at it, with some content.
func ipPacket(content string) []byte {
	p := make([]byte, 20, 20+len(content))
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(content)))
	return append(p, content...)
}

var (
	serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")
	aliceAddr  = netip.MustParseAddrPort("198.51.100.10:40000")
	bobAddr    = netip.MustParseAddrPort("198.51.100.11:40001")
)

// The two ends of a network.
func serverEnd(n *linktest.Network) *linktest.End { return n.Attach(serverAddr, netip.AddrPort{}) }
func clientEnd(n *linktest.Network) *linktest.End { return n.Attach(aliceAddr, serverAddr) }
