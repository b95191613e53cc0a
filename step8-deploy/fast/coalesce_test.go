package fast

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/shared/soak"
)

// device returns a TUN that has an end of a socket pair instead of a device, and the other
// end, which sees what a device would: each write and each read is one message, of a header
// and a packet.
func device(t testing.TB, o TUNOptions) (dev *TUN, kernel *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20))
	}
	o.Drops = new(link.Drops)
	dev = &TUN{o: o, name: "test"}
	dev.writer.udp = true
	require.NoError(t, dev.use(fds[0]))
	kernel = os.NewFile(uintptr(fds[1]), "kernel")
	t.Cleanup(func() {
		dev.Close()
		kernel.Close()
	})
	return dev, kernel
}

// twoDevices returns two connected TUNs: each reads what the other one writes.
func twoDevices(t testing.TB, o TUNOptions) (a, z *TUN) {
	a, kernel := device(t, o)
	z, other := device(t, o)
	other.Close()
	fd, err := unix.Dup(int(kernel.Fd()))
	require.NoError(t, err)
	z.file.Close()
	require.NoError(t, unix.SetNonblock(fd, true))
	require.NoError(t, z.use(fd))
	kernel.Close()
	return a, z
}

func burstOf(packets ...[]byte) *link.Burst {
	b := link.NewBurst()
	for _, p := range packets {
		room := b.Alloc(len(p))
		if room == nil {
			panic("too much for a burst")
		}
		copy(room, p)
	}
	return b
}

// readPackets reads n packets, and returns how many frames they came in.
func readPackets(t testing.TB, dev *TUN, n int) (packets [][]byte) {
	t.Helper()
	b := link.NewBurst()
	for len(packets) < n {
		require.NoError(t, dev.ReadBurst(b))
		for i := range b.Len() {
			packets = append(packets, bytes.Clone(b.At(i)))
		}
	}
	return packets
}

// frames writes packets, and returns the frames that the kernel sees.
func frames(t testing.TB, packets ...[]byte) (list [][]byte) {
	t.Helper()
	dev, kernel := device(t, TUNOptions{})
	require.NoError(t, dev.WriteBurst(burstOf(packets...)))
	dev.Close()
	for {
		buf := make([]byte, frameRoom)
		n, err := kernel.Read(buf)
		if err != nil || n == 0 {
			return list
		}
		list = append(list, buf[:n])
	}
}

// Each kind of flow becomes one super-packet, and is segmented into the same packets again.
func TestCoalesce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range []spec{
		{ttl: 64, tcpOptions: timestamps, fragment: 0x4000},
		{ttl: 64, tcpOptions: timestamps},
		{v6: true, ttl: 64, tcpOptions: timestamps, tos: 2},
		{ttl: 64, flags: ece, tos: 1},
		{udp: true, ttl: 1},
		{udp: true, v6: true, ttl: 255, tos: 3},
	} {
		for _, size := range []int{1, 7, 600, 1201} {
			list := stream(r, s, 40, size)
			list[39].payload = list[39].payload[:1+size/2]
			if !s.udp {
				list[39].flags |= psh | fin
			}
			var want [][]byte
			for _, s := range list {
				want = append(want, s.packet())
			}
			got := frames(t, want...)
			require.Len(t, got, 1, "%+v", s)
			h := readVnet(got[0])
			require.EqualValues(t, size, h.gsoSize)
			require.EqualValues(t, needsChecksum, h.flags)

			a, z := twoDevices(t, TUNOptions{})
			require.NoError(t, a.WriteBurst(burstOf(want...)))
			require.Equal(t, want, readPackets(t, z, len(want)))
		}
	}
}

// Some packets must not be coalesced, because something would be lost.
func TestNotCoalesced(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	base := spec{ttl: 64, tcpOptions: timestamps, fragment: 0x4000, tos: 2}
	v6 := base
	v6.v6, v6.fragment = true, 0
	udp := base
	udp.udp = true
	other := append([]byte{}, timestamps...)
	other[11]++
	for name, change := range map[string]func(*spec){
		"sequence":          func(s *spec) { s.seq++ },
		"acknowledgment":    func(s *spec) { s.ack++ },
		"window":            func(s *spec) { s.window++ },
		"port":              func(s *spec) { s.srcPort++ },
		"host":              func(s *spec) { s.host++ },
		"TTL":               func(s *spec) { s.ttl-- },
		"ECN":               func(s *spec) { s.tos |= 1 },
		"DSCP":              func(s *spec) { s.tos |= 0xb8 },
		"identification":    func(s *spec) { s.id++ },
		"may be fragmented": func(s *spec) { s.fragment = 0 },
		"fragment":          func(s *spec) { s.fragment = 0x2000 },
		"later fragment":    func(s *spec) { s.fragment = 1 },
		"evil bit":          func(s *spec) { s.fragment |= 0x8000 },
		"IP options":        func(s *spec) { s.options = []byte{1, 1, 1, 1} },
		"extension header":  func(s *spec) { s.extension = []byte{0, 0, 1, 4, 0, 0, 0, 0} },
		"timestamp":         func(s *spec) { s.tcpOptions = other },
		"no timestamp":      func(s *spec) { s.tcpOptions = nil },
		"CWR":               func(s *spec) { s.flags |= cwr },
		"ECE":               func(s *spec) { s.flags |= ece },
		"URG":               func(s *spec) { s.flags |= urg },
		"RST":               func(s *spec) { s.flags |= rst },
		"SYN":               func(s *spec) { s.flags |= syn },
		"urgent pointer":    func(s *spec) { s.urgent++ },
		"reserved bits":     func(s *spec) { s.reserved = 1 },
		"longer":            func(s *spec) { s.payload = append(s.payload, 1) },
		"empty":             func(s *spec) { s.payload = nil },
	} {
		for _, base := range []spec{base, v6, udp} {
			list := stream(r, base, 2, 100)
			first, same := list[0].packet(), list[1].packet()
			require.Len(t, frames(t, first, same), 1, "the detector works")
			change(&list[1])
			second := list[1].packet()
			if bytes.Equal(same, second) {
				continue // this kind of packet has no such field
			}
			t.Run(fmt.Sprintf("%s/v6=%v,udp=%v", name, base.v6, base.udp), func(t *testing.T) {
				got := frames(t, first, second)
				require.Len(t, got, 2)
				for i, p := range [][]byte{first, second} {
					require.Equal(t, vnetHeader{}, readVnet(got[i]))
					require.Equal(t, p, got[i][vnetLen:])
				}
			})
		}
	}
}

// A wrong checksum stays wrong.
func TestWrongChecksumsPass(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, s := range []spec{{}, {v6: true}, {udp: true}, {udp: true, v6: true}} {
		var want [][]byte
		for _, s := range stream(r, s, 4, 100) {
			want = append(want, s.packet())
		}
		want[1][len(want[1])-1]++ // TCP's or UDP's
		if !s.v6 {
			want[2][10]++ // IP's
		}
		if s.udp && !s.v6 {
			want[3][26], want[3][27] = 0, 0 // none: that is allowed
		}
		a, z := twoDevices(t, TUNOptions{})
		require.NoError(t, a.WriteBurst(burstOf(want...)))
		require.Equal(t, want, readPackets(t, z, len(want)))
	}
}

// Whatever packets go in, the same packets come out.
func TestCoalesceThenSegment(t *testing.T) {
	a, z := twoDevices(t, TUNOptions{})
	runs := soak.Pick(t, 200, 2000)
	coalesced := 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		want := randomPackets(r)
		require.NoError(t, a.WriteBurst(burstOf(want...)))
		coalesced += a.writer.coalesced(want)
		require.Equal(t, want, readPackets(t, z, len(want)), "seed %d", seed)
	}
	require.Greater(t, coalesced, runs, "there was something to coalesce")
}

// coalesced returns how many of the packets would be coalesced with the one before.
func (w *tunWriter) coalesced(packets [][]byte) (n int) {
	var r run
	for _, p := range packets {
		s, ok := asSegment(p)
		if ok && r.coalesce(s) {
			n++
			continue
		}
		r = run{}
		if ok {
			r.start(s)
		}
	}
	return n
}

// randomPackets returns some packets, with neighbours that often belong together.
func randomPackets(r *rand.Rand) (packets [][]byte) {
	room := link.MaxPacket
	for {
		s := spec{
			v6: r.IntN(2) == 0, udp: r.IntN(3) == 0, ttl: 64, tos: byte(r.IntN(4)),
			fragment: uint16(r.IntN(2)) << 14, srcPort: uint16(r.IntN(2)),
			tcpOptions: [][]byte{nil, timestamps}[r.IntN(2)],
		}
		for _, s := range stream(r, s, 1+r.IntN(20), 1+r.IntN(1400)) {
			if r.IntN(8) == 0 {
				s = disturb(r, s)
			}
			p := s.packet()
			if r.IntN(50) == 0 {
				p[r.IntN(len(p))]++
			}
			room -= len(p)
			if len(packets) == link.MaxBurst || room < 0 {
				return packets
			}
			packets = append(packets, p)
		}
	}
}

// disturb changes a property that may matter.
func disturb(r *rand.Rand, s spec) spec {
	switch r.IntN(9) {
	case 0:
		s.flags |= psh
	case 1:
		s.flags |= fin
	case 2:
		s.flags |= byte(r.Uint32())
	case 3:
		s.payload = s.payload[:r.IntN(len(s.payload)+1)]
	case 4:
		s.payload = append(s.payload, 1)
	case 5:
		s.id = uint16(r.Uint32())
	case 6:
		s.tos = byte(r.Uint32())
	case 7:
		s.options = []byte{148, 4, 0, 0}
		s.extension = []byte{0, 0, 1, 4, 0, 0, 0, 0}
	case 8:
		s.fragment = uint16(r.Uint32())
	}
	return s
}

// A super-packet does not extend over two bursts, even if the flow goes on.
func TestBurstsAreNotCoalesced(t *testing.T) {
	want := packets(stream(rand.New(rand.NewPCG(9, 9)), spec{}, 60, 1000))
	a, z := twoDevices(t, TUNOptions{})
	for i := range 3 {
		part := want[20*i : 20*i+20]
		require.NoError(t, a.WriteBurst(burstOf(part...)))
		require.Equal(t, part, readPackets(t, z, 20))
	}
}

func TestClosedDevice(t *testing.T) {
	dev, _ := device(t, TUNOptions{})
	failed := make(chan error)
	go func() { failed <- dev.ReadBurst(link.NewBurst()) }()
	require.NoError(t, dev.Close())
	require.NoError(t, dev.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed)
	require.ErrorIs(t, dev.WriteBurst(burstOf(make([]byte, 20))), net.ErrClosed)
}
