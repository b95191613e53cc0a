package packet

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for _, s := range slices.Concat(good, broken) {
		require.NoError(t, Check(s.packet), s.line)
	}
	for _, s := range notIP {
		require.ErrorAs(t, Check(s.packet), new(Malformed), s.line)
	}
}

// One byte less or more is no whole packet.
func TestCheckEveryLength(t *testing.T) {
	for _, s := range slices.Concat(good, broken) {
		for n := range len(s.packet) {
			require.Error(t, Check(s.packet[:n]), "%d bytes of: %s", n, s.line)
		}
		require.Error(t, Check(append(slices.Clone(s.packet), 0)), "a byte too many: %s", s.line)
	}
}

func TestCheckLongestPackets(t *testing.T) {
	require.NoError(t, Check(v4(ProtoUDP, zeros(65535-IPv4HeaderLen))))
	require.NoError(t, Check(v6(ProtoUDP, zeros(65535))))
}

func TestAsViewOfTheOtherVersion(t *testing.T) {
	_, err := AsIPv4(v6(NoNextHeader))
	require.Equal(t, errVersion, err)
	_, err = AsIPv6(v4(ProtoUDP, zeros(40)))
	require.Equal(t, errVersion, err)
}

func TestDescribe(t *testing.T) {
	for _, s := range slices.Concat(good, notIP, broken) {
		require.Equal(t, s.line, Describe(s.packet))
	}
}

func TestParseErrors(t *testing.T) {
	for _, s := range good {
		_, err := Parse(s.packet)
		require.NoError(t, err, s.line)
	}
	for _, s := range slices.Concat(notIP, broken) {
		_, err := Parse(s.packet)
		require.ErrorAs(t, err, new(Malformed), s.line)
	}
}

// The fields that String does not show, or shows only in part.
func TestParseFields(t *testing.T) {
	k, err := Parse(v4Fragment(ProtoUDP, Fragment{ID: 9, More: true}, udp(1, 2, zeros(4000))[:1480], 1, 7, 3, 4))
	require.NoError(t, err)
	require.Equal(t, Packet{
		Len: 1504, Version: 4, Src: src4, Dst: dst4, TTL: 64, Protocol: ProtoUDP,
		Fragment: Fragment{ID: 9, More: true},
		Options:  []Option{7},
		UDP:      &UDP{SrcPort: 1, DstPort: 2, Len: 4008},
	}, k)

	k, err = Parse(v6(HopByHop, extension(ProtoICMPv6, 0), icmp(128, 0, 0x12345678, nil)))
	require.NoError(t, err)
	require.Equal(t, Packet{
		Len: 56, Version: 6, Src: src6, Dst: dst6, TTL: 64, Protocol: ProtoICMPv6,
		Extensions: []Protocol{HopByHop},
		ICMP:       &ICMP{Type: 128, Name: "echo request", Echo: true, ID: 0x1234, Seq: 0x5678},
	}, k)

	k, err = Parse(zeros(3))
	require.Equal(t, errNoVersion, err)
	require.Equal(t, Packet{Len: 3}, k)
}

// Of the flags only "more fragments" makes a piece: most packets have "don't fragment" set,
// and the third flag has no meaning.
func TestFlags(t *testing.T) {
	ping := v4(ProtoICMP, icmp(8, 0, 7<<16|1, nil))
	for _, c := range []struct {
		name string
		bits byte
		more bool
	}{
		{"don't fragment", 0x40, false},
		{"the reserved flag", 0x80, false},
		{"more fragments", 0x20, true},
		{"all of them", 0xe0, true},
	} {
		h, err := AsIPv4(flags(ping, c.bits))
		require.NoError(t, err)
		require.Equal(t, Fragment{More: c.more}, h.Fragment(), c.name)
	}
}

// The payload begins where the header says that it ends, options or not.
func TestPayloadBeginsBehindTheOptions(t *testing.T) {
	data := []byte("payload")
	for n := 0; n <= 40; n += 4 {
		h, err := AsIPv4(v4(253, data, zeros(n)...))
		require.NoError(t, err)
		require.Equal(t, 20+n, h.HeaderLen())
		require.Equal(t, data, h.Payload(), "%d bytes of options", n)
	}
}

// Any change of one bit in the header is seen by the checksum.
func TestHeaderChecksumOfEveryBit(t *testing.T) {
	p := v4(ProtoUDP, udp(1, 2, nil), 7, 7, 4, 1, 2, 3, 4, 0)
	for bit := range 28 * 8 {
		q := slices.Clone(p)
		q[bit/8] ^= 1 << (bit % 8)
		if k, err := Parse(q); err == nil {
			require.True(t, k.BadChecksum, "bit %d", bit)
		}
	}
	k, err := Parse(p)
	require.NoError(t, err)
	require.False(t, k.BadChecksum)
}

// Addresses look as everybody writes them (RFC 5952).
func TestAddresses(t *testing.T) {
	p := v6(NoNextHeader)
	mapped := netip.MustParseAddr("::ffff:1.2.3.4").As16()
	copy(p[8:], mapped[:])
	k, err := Parse(p)
	require.NoError(t, err)
	require.Equal(t, "::ffff:1.2.3.4", k.Src.String())
	require.Equal(t, "fd00:8::2", k.Dst.String())
}

func TestMalformedText(t *testing.T) {
	require.EqualError(t, Check(nil), "malformed: empty")
	require.True(t, errors.Is(Check(nil), errEmpty))
}

// The data path calls Check for every packet.
func TestCheckAllocatesNothing(t *testing.T) {
	for _, s := range slices.Concat(good, notIP) {
		require.Zero(t, testing.AllocsPerRun(100, func() { Check(s.packet) }), s.line)
	}
}
