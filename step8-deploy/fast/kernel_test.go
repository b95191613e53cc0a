package fast

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// The kernel is the judge: it accepts a coalesced packet as a super-packet, and forwards it.
// If the packet leaves by a device that wants single packets, the kernel segments it;
// otherwise this package does. Both must return the packets that were coalesced, byte by byte,
// except for the hop count.
func TestKernelSegmentsTheSame(t *testing.T) {
	lab := netlab.New(t)
	h := lab.Alice
	for _, setting := range []string{"ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"} {
		h.Write(t, setting, "1")
	}
	h.Write(t, "ipv4/conf/all/rp_filter", "0") // no route leads to the packets' sources
	for _, noTSO := range []bool{true, false} {
		in, inName := open(t, h, TUNOptions{})
		out, outName := open(t, h, TUNOptions{NoTSO: noTSO})
		h.Run(t, "ip", "address", "flush", "dev", inName)
		h.Run(t, "ip", "address", "flush", "dev", outName)
		h.Run(t, "ip", "address", "add", "192.168.77.1/24", "dev", outName) // the host needs an address for IPv4
		h.Write(t, "ipv4/conf/"+inName+"/rp_filter", "0")
		h.Run(t, "ip", "route", "replace", "10.8.0.2", "dev", outName)
		h.Run(t, "ip", "-6", "route", "replace", "fd00:8::2", "dev", outName)
		h.Run(t, "ip", "-6", "route", "replace", "fd00:8::/64", "dev", inName)

		r := newRand(1)
		for _, s := range []spec{
			{tcpOptions: timestamps, fragment: 0x4000},
			{tcpOptions: timestamps},
			{flags: ece, tos: 0xba, fragment: 0x4000},
			{v6: true, tcpOptions: timestamps, tos: 2},
			{udp: true, fragment: 0x4000},
			{udp: true, v6: true, tos: 0xb8},
		} {
			for _, size := range []int{1, 100, 1360} {
				s.ttl = 64
				list := stream(r, s, 40, size)
				list[39].payload = list[39].payload[:1+size/2]
				if !s.udp {
					list[39].flags |= psh | fin
				}
				require.NoError(t, in[0].WriteBurst(burstOf(packets(list)...)))
				for i := range list {
					list[i].ttl--
				}
				require.Equal(t, packets(list), readFlow(t, out[0], len(list), s), "no TSO %v, size %d, %+v", noTSO, size, s)
			}
		}
		require.False(t, in[0].o.NoGRO)
		require.True(t, in[0].writer.udp)
		in[0].Close()
		out[0].Close()
	}
}

// readLimit bounds the wait for the packets of one flow.
const readLimit = 20 * time.Second

// readFlow reads n packets of the flow, and skips the host's other packets.
func readFlow(t *testing.T, dev *TUN, n int, s spec) (list [][]byte) {
	t.Helper()
	defer time.AfterFunc(readLimit, func() { dev.Close() }).Stop()
	for len(list) < n {
		for _, p := range readPackets(t, dev, 1) {
			transport, protocol := ipv4Len, p[9]
			if p[0]>>4 == 6 {
				transport, protocol = ipv6Len, p[6]
			}
			if (protocol == 6 || protocol == 17) && binary.BigEndian.Uint16(p[transport+2:]) == 2000 {
				list = append(list, p)
			}
		}
	}
	return list
}
