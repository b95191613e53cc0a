package fast

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// super returns the frame that the kernel would return for a packet that it has not segmented
// yet: p, with the sum of the pseudo-header in its checksum field.
func super(s spec, gsoType byte, gsoSize int) []byte {
	p := s.packet()
	transport := len(p) - len(s.transport())
	h := vnetHeader{flags: needsChecksum, gsoType: gsoType, gsoSize: uint16(gsoSize),
		headerLen:     1, // only a hint
		checksumStart: uint16(transport), checksumOffset: tcpChecksum}
	addresses, protocol := p[12:20], byte(6)
	if s.v6 {
		addresses = p[8:40]
	}
	if s.udp {
		h.checksumOffset, protocol = udpChecksum, 17
	}
	length := len(p) - transport
	pseudo := append(bytes.Clone(addresses), 0, protocol, byte(length>>8), byte(length))
	binary.BigEndian.PutUint16(p[transport+int(h.checksumOffset):], ^referenceChecksum(pseudo))
	frame := make([]byte, vnetLen)
	h.put(frame)
	return append(frame, p...)
}

// give makes the kernel hand a frame to the device.
func give(t testing.TB, kernel *os.File, frame []byte) {
	t.Helper()
	_, err := kernel.Write(frame)
	require.NoError(t, err)
}

// The segments of a super-packet are as RFC 9293, RFC 3168 and the kernel's own segmentation
// require.
func TestSegment(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		gsoType byte
		spec    spec
	}{
		{gsoTCP4, spec{ttl: 64, tcpOptions: timestamps, flags: psh | fin, fragment: 0x4000}},
		{gsoTCP4, spec{options: []byte{148, 4, 0, 0}, flags: psh}},
		{gsoTCP4 | gsoECN, spec{flags: cwr | ece | psh, tos: 2}},
		{gsoTCP6, spec{v6: true, tcpOptions: timestamps, flags: fin}},
		{gsoTCP6 | gsoECN, spec{v6: true, flags: cwr}},
		{gsoTCP6, spec{v6: true, extension: []byte{0, 0, 1, 4, 0, 0, 0, 0}}},
		{gsoUDP, spec{udp: true, id: 0xfffe}},
		{gsoUDP, spec{udp: true, v6: true}},
	} {
		for _, size := range []int{1, 100, 999, 1000, 1001, 60000} {
			whole := c.spec
			whole.seq = 0xfffffff0 // the sequence number overflows
			whole.payload = randomBytes(r, size)
			var want [][]byte
			for i, at := 0, 0; at < size; i, at = i+1, at+1000 {
				s := whole
				s.payload = whole.payload[at:min(at+1000, size)]
				s.seq += uint32(at)
				s.id += uint16(i)
				if i > 0 {
					s.flags &^= cwr
				}
				if at+1000 < size {
					s.flags &^= psh | fin
				}
				want = append(want, s.packet())
			}
			dev, kernel := device(t, TUNOptions{})
			give(t, kernel, super(whole, c.gsoType, 1000))
			require.Equal(t, want, readPackets(t, dev, len(want)), "%+v", c)
		}
	}
}

// A super-packet can have more segments than a burst.
func TestSegmentsGoOverSeveralBursts(t *testing.T) {
	s := spec{tcpOptions: timestamps, payload: randomBytes(rand.New(rand.NewPCG(1, 2)), 64000)}
	dev, kernel := device(t, TUNOptions{})
	give(t, kernel, super(s, gsoTCP4, 36))
	var stream []byte
	b := link.NewBurst()
	for len(stream) < len(s.payload) {
		require.NoError(t, dev.ReadBurst(b))
		require.LessOrEqual(t, b.Len(), link.MaxBurst)
		for i := range b.Len() {
			p := bytes.Clone(b.At(i))
			require.Equal(t, p, bytes.Clone(b.At(i)), "asking twice does no harm")
			require.EqualValues(t, len(stream), binary.BigEndian.Uint32(p[24:]))
			stream = append(stream, p[52:]...)
		}
	}
	require.Equal(t, s.payload, stream)
}

// Single packets come without a checksum, too. All of them that are waiting make one burst.
func TestSinglePackets(t *testing.T) {
	dev, kernel := device(t, TUNOptions{})
	r := rand.New(rand.NewPCG(1, 3))
	var want [][]byte
	for i := range 10 {
		s := spec{v6: i%2 == 0, udp: i%3 == 0, payload: randomBytes(r, i*7)}
		want = append(want, s.packet())
		give(t, kernel, super(s, gsoNone, 0))
	}
	icmp := spec{payload: []byte("as it is")}.packet()
	want = append(want, icmp)
	give(t, kernel, append(make([]byte, vnetLen), icmp...))
	big := spec{payload: randomBytes(r, 3000), tcpOptions: timestamps}
	give(t, kernel, super(big, gsoTCP4, 1400))

	b := link.NewBurst()
	require.NoError(t, dev.ReadBurst(b))
	require.Equal(t, len(want), b.Len(), "the super-packet is for the next burst")
	for i, p := range want {
		require.Equal(t, p, b.At(i))
	}
	require.NoError(t, dev.ReadBurst(b))
	require.Equal(t, 3, b.Len())
}

// In UDP, the checksum 0 means that there is none, so 0xffff is written instead.
func TestChecksumZero(t *testing.T) {
	s := spec{udp: true, payload: []byte{0, 0}}
	p := s.packet()
	binary.BigEndian.PutUint16(p[28:], binary.BigEndian.Uint16(p[26:])) // the difference to 0xffff
	binary.BigEndian.PutUint16(s.payload, binary.BigEndian.Uint16(p[28:]))
	want := s.packet()
	require.Equal(t, []byte{0xff, 0xff}, want[26:28], "the case is the one meant")
	dev, kernel := device(t, TUNOptions{})
	give(t, kernel, super(s, gsoNone, 0))
	require.Equal(t, want, readPackets(t, dev, 1)[0])
}

// Neither the header before a packet nor the packet itself is trusted.
func TestBadFrames(t *testing.T) {
	good := super(spec{payload: make([]byte, 2000), tcpOptions: timestamps}, gsoTCP4, 500)
	good6 := super(spec{v6: true, payload: make([]byte, 2000)}, gsoTCP6, 500)
	with := func(frame []byte, at int, b ...byte) []byte {
		f := bytes.Clone(frame)
		copy(f[at:], b)
		return f
	}
	number := func(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
	for name, frame := range map[string][]byte{
		"too short":               good[:5],
		"no packet":               good[:vnetLen],
		"half a header":           good[:vnetLen+30],
		"no payload":              good[:vnetLen+52],
		"unknown type":            with(good, 1, 3),
		"IPv6 that is IPv4":       with(good, 1, gsoTCP6),
		"IPv4 that is IPv6":       with(good6, 1, gsoTCP4),
		"neither":                 with(good, vnetLen, 0x55),
		"no checksum":             with(good, 0, 0),
		"no size":                 with(good, 4, 0, 0),
		"checksum in IP":          with(good, 6, number(10)...),
		"checksum too far":        with(good, 6, number(65535)...),
		"checksum of UDP":         with(good, 8, number(6)...),
		"checksum behind the end": with(good, 8, number(3000)...),
		"UDP of version 5":        with(with(good, 1, gsoUDP), vnetLen, 0x55),
		"header length":           with(good, vnetLen+20+12, 0x40),
		"header beyond the end":   with(good, vnetLen+20+12, 0xf0)[:vnetLen+60],
		"IPv6 start":              with(good6, 6, number(30)...),
		"long headers":            with(good6, 6, number(600)...),
	} {
		t.Run(name, func(t *testing.T) {
			dev, kernel := device(t, TUNOptions{})
			give(t, kernel, frame)
			fine := spec{udp: true, payload: []byte("next")}
			give(t, kernel, super(fine, gsoNone, 0))
			require.Equal(t, fine.packet(), readPackets(t, dev, 1)[0])
			require.Equal(t, "malformed 1", dev.o.Drops.String())
		})
	}
}

func TestAdd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for n := range 400 {
		b := randomBytes(r, n)
		for _, b := range [][]byte{b, bytes.Repeat([]byte{0xff}, n), make([]byte, n)} {
			require.Equal(t, referenceChecksum(b), ^fold(add(0, b)))
			even := n / 3 * 2
			require.Equal(t, referenceChecksum(b), ^fold(add(add(0, b[:even]), b[even:])), "in two parts")
		}
	}
}

// The driver had to cut off a part.
func TestFrameTooLong(t *testing.T) {
	dev, _ := device(t, TUNOptions{})
	dev.reader.used = singlesRoom
	require.False(t, dev.reader.take(frameRoom+1))
	require.Equal(t, "malformed 1", dev.o.Drops.String())
}
