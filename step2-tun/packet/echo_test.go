package packet

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// ping makes an ICMP message with the right checksum. The data has an odd length.
func ping(kind, code uint8) []byte {
	m := icmp(kind, code, 7<<16|1, []byte("abc"))
	binary.BigEndian.PutUint16(m[2:], wordByWord(m))
	return m
}

// between makes p a packet between other hosts, and renews the header's checksum.
func between(p []byte, src, dst [4]byte) []byte {
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	return flags(p, 0)
}

func TestEchoReply(t *testing.T) {
	// As it comes from a host far away: 5 hops are left.
	p := flags(with(v4(ProtoICMP, ping(8, 0)), 8, 5), 0x40)
	require.True(t, EchoReply(p))

	k, err := Parse(p)
	require.NoError(t, err)
	require.Equal(t, dst4, k.Src, "who was asked answers")
	require.Equal(t, src4, k.Dst, "who asked gets the answer")
	require.Equal(t, &ICMP{Type: 0, Name: "echo reply", Echo: true, ID: 7, Seq: 1}, k.ICMP)
	require.Equal(t, 64, k.TTL, "the answer is a packet of its own, with a whole way before it")
	require.False(t, k.BadChecksum, "the header's checksum")
	require.Zero(t, wordByWord(p[IPv4HeaderLen:]), "the checksum of the ICMP message, with itself")
	require.Equal(t, "abc", string(p[IPv4HeaderLen+8:]), "the data comes back")
}

// What is not answered stays as it is.
func TestEchoReplyToNothingElse(t *testing.T) {
	request := func() []byte { return v4(ProtoICMP, ping(8, 0)) }
	alice, bob := src4.As4(), dst4.As4()
	for _, c := range []struct {
		name   string
		packet []byte
	}{
		{"nothing", nil},
		{"an IPv6 packet", v6(ProtoICMPv6, ping(8, 0))},
		{"a request with a byte missing", request()[:30]},
		{"a request with a byte too many", append(request(), 0)},
		{"a request in UDP", v4(ProtoUDP, ping(8, 0))},
		{"an answer", v4(ProtoICMP, ping(0, 0))},
		{"an error message", v4(ProtoICMP, ping(3, 0))},
		{"a request with a code", v4(ProtoICMP, ping(8, 1))},
		{"a request of 7 bytes", v4(ProtoICMP, []byte{8, 0, 0xf7, 0xff, 0, 0, 0})},
		{"an ICMP message of 1 byte", v4(ProtoICMP, []byte{8})},
		{"no ICMP message at all", v4(ProtoICMP, nil)},
		{"a damaged header", with(request(), 8, 63)},
		{"a damaged ping", with(request(), 29, 'B')},
		{"the first piece of a request", v4Fragment(ProtoICMP, Fragment{ID: 9, More: true}, ping(8, 0))},
		{"a later piece", v4Fragment(ProtoICMP, Fragment{ID: 9, Offset: 8}, ping(8, 0))},
		{"a request with options", v4(ProtoICMP, ping(8, 0), 131, 3, 4, 0)},
		{"a request to a group", between(request(), alice, [4]byte{224, 0, 0, 1})},
		{"a request to everybody", between(request(), alice, [4]byte{255, 255, 255, 255})},
		{"a request from a group", between(request(), [4]byte{224, 0, 0, 1}, bob)},
		{"a request from everybody", between(request(), [4]byte{255, 255, 255, 255}, bob)},
		{"a request from nobody", between(request(), [4]byte{}, bob)},
	} {
		before := slices.Clone(c.packet)
		require.False(t, EchoReply(c.packet), c.name)
		require.Equal(t, before, c.packet, c.name)
	}
}

func TestEchoReplyAllocatesNothing(t *testing.T) {
	p := v4(ProtoICMP, ping(8, 0))
	q := slices.Clone(p)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		copy(q, p)
		EchoReply(q)
	}))
}
