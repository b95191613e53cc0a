package stock_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step8-deploy/further/wireguard"
)

// A session of ours reaches a stock server, which answers a ping in it.
func TestSessionWithStockServer(t *testing.T) {
	for name, psk := range map[string]*[noise.KeyLen]byte{"without PSK": nil, "with PSK": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			lab := netlab.New(t)
			own, theirs := noise.GenerateKey(), noise.GenerateKey()
			server := stockAt(t, lab.Server, "wg0", interfaceOf(theirs, "ListenPort = 51820")+peerOf(own.Public(), psk, "AllowedIPs = 10.7.0.2/32"), "10.7.0.1/24")
			var conn *net.UDPConn
			var err error
			lab.Alice.Do(func() {
				conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.Server.V4, 51820)))
			})
			require.NoError(t, err)
			drops := new(link.Drops)
			public := theirs.Public()
			client, err := secure.Client(t.Context(), cookie.ClientBothWays(link.Single(conn), public, own.Public(), drops),
				secure.Config{Handshake: wireguard.Handshake(own, &public, psk), Format: wireguard.Format, Drops: drops, MTU: 1420})
			require.NoError(t, err, server.p.Log())
			defer client.Close()
			b := link.NewBurst()
			ping := echo(netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("10.7.0.1"))
			copy(b.Alloc(len(ping)), ping)
			require.NoError(t, client.WriteBurst(b))
			require.NoError(t, client.ReadBurst(b))
			require.EqualValues(t, 0, b.At(0)[20], "it is an echo reply")
			require.NotEqual(t, "0", server.show(t, 4))
			require.Equal(t, "none", drops.String())
		})
	}
}

// echo returns an ICMP echo request (RFC 792).
func echo(from, to netip.Addr) []byte {
	p := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 12: 0, 20: 8, 21: 0, 22: 0, 23: 0, 27: 1}
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	checksum(p[:20], 10)
	checksum(p[20:], 2)
	return p
}

// checksum puts the internet checksum of b into b (RFC 1071).
func checksum(b []byte, at int) {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	b[at], b[at+1] = byte(^sum>>8), byte(^sum)
}
