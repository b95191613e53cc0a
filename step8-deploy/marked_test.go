package step8_test

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/route"
	"stepvpn/step8-deploy/takeover"
)

// A worker may keep a socket with the mark for longer than its keeper lives. While the kill
// switch is closed, it reaches nobody with that socket. When the switch is open, the socket is
// like any other.
func TestMarkedSocketOutlivesItsKeeper(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "kill_switch", true)
	w.server(t)
	send := func() (err error) {
		w.Alice.Do(func() {
			fd, err2 := open(w.Web.V4, unix.SOCK_DGRAM, 0, "")
			require.NoError(t, err2)
			defer unix.Close(fd)
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, route.FwMark))
			err = unix.Sendto(fd, []byte("x"), 0, sockaddr(w.Web.V4, 9))
		})
		return err
	}
	start := func(args ...string) *netlab.Process {
		p := w.Alice.Start(t, netlab.Program("stepvpn"), append(append([]string{"client"}, args...), w.path("alice.toml"))...)
		p.WaitLog(t, "tunnel is up")
		require.Error(t, send(), "while it runs")
		return p
	}
	for range 2 {
		p := start("-leave-closed")
		p.Signal(unix.SIGTERM)
		require.Zero(t, p.Wait(t), p.Log())
		require.Contains(t, p.Log(), "the kill switch stays closed")
		require.Error(t, send(), "the switch is closed")
	}
	p := start()
	p.Signal(unix.SIGTERM)
	require.Zero(t, p.Wait(t), p.Log())
	require.NoError(t, send(), "the switch is open")
	require.NotContains(t, w.Alice.Run(t, "nft", "list", "tables"), "stepvpn")
}

// A worker's socket for ping is raw, and tied to the device. The kernel lets the owner of such
// a socket write whole IPv4 packets (IP_HDRINCL), and send each by another device
// (IP_PKTINFO), without any privilege. The mark keeps these packets in the tunnel.
func TestEchoSocketStaysInTunnel(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "kill_switch", false)
	w.server(t)
	w.client(t)
	// forge sends a packet with another host's address, outside of the tunnel.
	forge := func(mark int, port uint16) {
		w.Alice.Do(func() {
			fd, err := open(w.Web.V4, unix.SOCK_RAW, unix.IPPROTO_ICMP, "vpn0")
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark))
			require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1))
			eth0, err := net.InterfaceByName("eth0")
			require.NoError(t, err)
			packet := make([]byte, 28)
			packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
			copy(packet[12:], net.IPv4(198, 51, 100, 77).To4())
			copy(packet[16:], w.Web.V4.AsSlice())
			binary.BigEndian.PutUint16(packet[22:], port)
			binary.BigEndian.PutUint16(packet[24:], 8)
			unix.Sendmsg(fd, packet, unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(eth0.Index)}), sockaddr(w.Web.V4, 0), 0)
		})
	}
	out := w.Cafe.Capture(t, "br0", "udp and src 198.51.100.77")
	forge(takeover.TiedMark, 10)
	forge(0, 9)
	came := strings.Join(out.Stop(), "\n")
	require.Contains(t, came, w.Web.V4.String()+".9:", "the detector sees it")
	require.NotContains(t, came, w.Web.V4.String()+".10:")
}
