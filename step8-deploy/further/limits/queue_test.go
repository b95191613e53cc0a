package limits

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// numbered makes a packet with a number.
func numbered(n, length int) *packet {
	p := make([]byte, length)
	binary.BigEndian.PutUint32(p, uint32(n))
	return &packet{data: p}
}

func (p *packet) number() int { return int(binary.BigEndian.Uint32(p.data)) }

// A flow that has been silent comes before those that fill the queue: a ping does not wait for a
// download.
func TestQueueFreshFirst(t *testing.T) {
	var q fairQueue
	for i := range 100 {
		q.push(numbered(i, 1400), 7)
	}
	for range 10 {
		require.NotNil(t, q.pop())
	}
	q.push(numbered(1000, 84), 8)
	waited := 0
	for q.pop().number() != 1000 {
		waited++
	}
	require.LessOrEqual(t, waited, 1, "packets of the download that leave before the ping")
	// But one that sends as much as the others gets no more than they do by stopping in between.
	ours := 0
	for range 60 {
		if q.flows[8].head == nil {
			q.push(numbered(2000, 1400), 8)
		}
		if q.pop().number() == 2000 {
			ours++
		}
	}
	require.InDelta(t, 30, ours, 3, "of 60 packets, those of a flow that always looks fresh")
}

// A flow that sends its next packet just after it has become empty is fresh once, and then gets
// no more than the others.
func TestQueueFreshOnce(t *testing.T) {
	var q fairQueue
	for i := range 2000 {
		q.push(numbered(i, 100), 7)
	}
	q.push(numbered(5000, 1400), 8)
	ours, all := 0, 0
	for all < 150_000 {
		p := q.pop()
		all += len(p.data)
		if p.number() == 5000 {
			ours += len(p.data)
		} else if q.flows[8].head == nil {
			q.push(numbered(5000, 1400), 8)
		}
	}
	require.InDelta(t, 75_000, ours, 5000, "bytes of the flow that is always just in time")
}

// Flows get equal shares in bytes, whatever the lengths of their packets, and the packets of
// each stay in order.
func TestQueueShares(t *testing.T) {
	var q fairQueue
	lengths := []int{1400, 700, 200, 60}
	last := make([]int, len(lengths))
	bytes := make([]int, len(lengths))
	sent := 0
	for f, n := range lengths {
		for i := range 140_000 / n {
			q.push(numbered(f<<16|i+1, n), uint64(f))
			sent += n
		}
	}
	require.Equal(t, sent, q.bytes)
	for total := 0; total < 200_000; {
		p := q.pop()
		f, i := p.number()>>16, p.number()&0xffff
		require.Equal(t, last[f]+1, i, "the next packet of flow %d", f)
		last[f] = i
		bytes[f] += len(p.data)
		total += len(p.data)
	}
	for f := range lengths {
		require.InDelta(t, 50_000, bytes[f], 2*quantum, "bytes of flow %d, of packets of %d bytes", f, lengths[f])
	}
}

// All that is pushed comes out, and then the queue is as it was at first.
func TestQueueEmpties(t *testing.T) {
	var q fairQueue
	in, out := 0, 0
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		if r.IntN(2) == 0 {
			q.push(numbered(in, 20+r.IntN(1400)), uint64(r.IntN(200))) // more flows than there are places
			in++
		} else if q.pop() != nil {
			out++
		}
	}
	for q.pop() != nil {
		out++
	}
	require.Equal(t, in, out)
	require.Zero(t, q.bytes)
	for i := range q.flows {
		require.False(t, q.flows[i].in)
		require.Nil(t, q.flows[i].head)
	}
}

// What is too much is at the cost of the flow that has the most: of its newest packet, or if another
// flow's packet comes, of its first one.
func TestQueueIsBounded(t *testing.T) {
	var q fairQueue
	dropped := 0
	for i := range 20 {
		dropped += q.add(numbered(i, 1000), 1, 15_000)
	}
	require.Equal(t, 5, dropped)
	require.Equal(t, 1, q.add(numbered(100, 1000), 2, 15_000))
	require.Equal(t, 15_000, q.bytes)
	var left []int
	for p := q.pop(); p != nil; p = q.pop() {
		left = append(left, p.number())
	}
	require.Equal(t, []int{1, 2, 100, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, left)
	require.Zero(t, q.trim(0))

	// A lower limit takes from the front.
	for i := range 10 {
		q.push(numbered(i, 1000), 1)
	}
	require.Equal(t, 7, q.trim(3000))
	require.Equal(t, 7, q.pop().number())
}

// A flow is what a router takes for one: addresses, protocol and ports. Fragments have no ports.
func TestTagOf(t *testing.T) {
	v4 := func(protocol byte, fragment uint16, ports string) []byte {
		p := []byte{0x45, 0, 0, 24, 0, 0, byte(fragment >> 8), byte(fragment), 64, protocol, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1}
		return append(p, ports...)
	}
	v6 := func(next byte, ports string) []byte {
		p := append([]byte{0x60, 0, 0, 0, 0, 4, next, 64}, make([]byte, 32)...)
		return append(p, ports...)
	}
	for _, tcp := range []byte{6, 17} {
		require.Equal(t, tagOf(v4(tcp, 0, "abcd")), tagOf(v4(tcp, 0x4000, "abcd")))
		require.NotEqual(t, tagOf(v4(tcp, 0, "abcd")), tagOf(v4(tcp, 0, "abce")))
		require.NotEqual(t, tagOf(v6(tcp, "abcd")), tagOf(v6(tcp, "abce")))
		require.Equal(t, tagOf(v4(tcp, 0x2000, "abcd")), tagOf(v4(tcp, 0x0001, "abce")), "two fragments")
		tagOf(v4(tcp, 0, ""))
		tagOf(v6(tcp, ""))
	}
	require.Equal(t, tagOf(v4(1, 0, "abcd")), tagOf(v4(1, 0, "abce")), "ICMP has no ports")
	require.NotEqual(t, tagOf(v4(6, 0, "abcd")), tagOf(v4(17, 0, "abcd")))
}

func FuzzTagOf(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1})
	f.Add(append([]byte{0x4f}, make([]byte, 19)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 20 || p[0]>>4 != 4 && len(p) < 40 {
			return // the hub has checked that it is a whole packet
		}
		require.Equal(t, tagOf(p), tagOf(p))
	})
}

// Waiting costs no allocation for each packet, once there was one.
func TestQueueAllocatesNothing(t *testing.T) {
	var q fairQueue
	p := make([]byte, 1420)
	p[0] = 0x45
	run := func() {
		for range 32 {
			q.push(copyOf(p, link.Hints{}), tagOf(p))
		}
		for g := q.pop(); g != nil; g = q.pop() {
			g.free()
		}
	}
	run()
	if raceDetector {
		return
	}
	require.Less(t, testing.AllocsPerRun(200, run), 1.)
}
