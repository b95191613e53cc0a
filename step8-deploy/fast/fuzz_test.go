package fast

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever the device returns, its segments are whole packets with correct checksums, and have
// all of the payload.
func FuzzSegment(f *testing.F) {
	// A frame of 64 KiB in segments of 1 byte takes as long as a thousand small frames, and
	// tests nothing that these do not. TestSegment has large frames.
	const limit = 1 << 10
	big := randomBytes(rand.New(rand.NewPCG(1, 1)), 200)
	f.Add(super(spec{payload: big, tcpOptions: timestamps, flags: cwr | psh}, gsoTCP4|gsoECN, 70))
	f.Add(super(spec{v6: true, payload: big}, gsoTCP6, 70))
	f.Add(super(spec{udp: true, payload: big}, gsoUDP, 70))
	f.Add(super(spec{payload: big[:10], options: []byte{148, 4, 0, 0}}, gsoTCP4, 1))
	f.Add(super(spec{v6: true, udp: true, payload: big}, gsoNone, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fr frame
		if len(data) < vnetLen || len(data) > vnetLen+limit {
			return
		}
		if fr.set(readVnet(data), data[vnetLen:]) != nil {
			return
		}
		if !fr.super() {
			require.Len(t, fr.single(), len(data)-vnetLen)
			return
		}
		payload := append([]byte{}, fr.p[fr.headers:]...)
		for i := range fr.segments {
			p := fr.segment(i)
			n := fr.headers + min(int(fr.vnet.gsoSize), len(payload))
			require.Len(t, p, n)
			require.Equal(t, payload[:n-fr.headers], p[fr.headers:])
			payload = payload[n-fr.headers:]
			if p[0]>>4 == 4 {
				require.EqualValues(t, len(p), binary.BigEndian.Uint16(p[2:]))
				require.Zero(t, referenceChecksum(p[:fr.transport]))
			} else {
				require.EqualValues(t, len(p)-ipv6Len, binary.BigEndian.Uint16(p[4:]))
			}
		}
		require.Empty(t, payload)
	})
}

// Two packets come from a stranger, and the second may be anything: either they are not
// coalesced, or segmenting returns the same packets.
func FuzzCoalesce(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range []spec{{tcpOptions: timestamps}, {v6: true, flags: ece}, {udp: true}, {udp: true, v6: true}} {
		list := stream(r, s, 2, 100)
		f.Add(list[0].packet(), list[1].packet(), false)
		f.Add(list[0].packet(), list[1].packet(), true)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, repair bool) {
		if repair { // without this, the checksums would stop them
			repairChecksums(a)
			repairChecksums(b)
		}
		want := [][]byte{append([]byte{}, a...), append([]byte{}, b...)}
		s, ok := asSegment(a)
		next, alsoOK := asSegment(b)
		var run run
		if !ok || !alsoOK {
			return
		}
		run.start(s)
		if !run.coalesce(next) {
			return
		}
		h := run.finish()
		super := append(append([]byte{}, a...), next.payload()...)
		require.Len(t, super, run.total)
		var fr frame
		require.NoError(t, fr.set(h, super))
		require.Equal(t, 2, fr.segments)
		for i := range want {
			require.Equal(t, want[i], fr.segment(i))
		}
	})
}

// repairChecksums makes the checksums correct, if p is a packet that has any.
func repairChecksums(p []byte) {
	if len(p) < ipv6Len || len(p) > maxSuper {
		return
	}
	at, protocol, addresses := ipv4Len, p[9], p[12:20]
	if p[0]>>4 == 6 {
		at, protocol, addresses = ipv6Len, p[6], p[8:40]
	} else {
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], referenceChecksum(p[:ipv4Len]))
	}
	field := at + tcpChecksum
	if protocol == 17 {
		field = at + udpChecksum
	}
	if field+2 > len(p) {
		return
	}
	p[field], p[field+1] = 0, 0
	binary.BigEndian.PutUint16(p[field:], transportChecksum(addresses, protocol, p[at:]))
}
