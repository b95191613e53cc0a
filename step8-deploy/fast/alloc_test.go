package fast

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// Moving bursts allocates nothing.
func TestTUNAllocs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	a, z := twoDevices(t, TUNOptions{})
	for _, want := range [][][]byte{
		packets(stream(r, spec{tcpOptions: timestamps}, 45, 1368)),
		packets(stream(r, spec{v6: true, udp: true}, 45, 1000)),
		packets(stream(r, spec{}, 1, 0)),
	} {
		in := link.NewBurst()
		out := burstOf(want...)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			for i, p := range want { // writing may have changed them
				copy(out.At(i), p)
			}
			if err := a.WriteBurst(out); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < len(want); n += in.Len() {
				if err := z.ReadBurst(in); err != nil {
					t.Fatal(err)
				}
				for i := range in.Len() {
					in.At(i)
				}
			}
		}))
	}
}

func TestUDPAllocs(t *testing.T) {
	for _, wildcard := range []string{":0", "0.0.0.0:0", "127.0.0.1:0"} {
		server, addr := listen(t, wildcard, UDPOptions{})
		client, _ := dial(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port()), UDPOptions{})
		out, in := burstOf(repeatBytes(1452, 40)...), link.NewBurst()
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if err := client.WriteBurst(out); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < out.Len(); n += in.Len() {
				if err := server.ReadBurst(in); err != nil {
					t.Fatal(err)
				}
			}
			if err := server.WriteBurst(in); err != nil {
				t.Fatal(err)
			}
			if err := client.ReadBurst(in); err != nil {
				t.Fatal(err)
			}
		}))
	}
}

// The checksum is computed twice for every byte that goes through a tunnel.
func BenchmarkAdd(b *testing.B) {
	p := make([]byte, 1420)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		add(0, p)
	}
}

// This benchmark measures how long it takes to parse a segment and to coalesce it with the one
// before.
func BenchmarkCoalesce(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	out := burstOf(packets(stream(r, spec{tcpOptions: timestamps}, 45, 1368))...)
	b.SetBytes(45 * 1420)
	b.ReportAllocs()
	var run run
	for b.Loop() {
		for i := range out.Len() {
			s, _ := asSegment(out.At(i))
			if !run.coalesce(s) {
				run.start(s)
			}
		}
	}
}

// This benchmark measures how long it takes to segment a super-packet.
func BenchmarkSegment(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	data := super(spec{tcpOptions: timestamps, payload: randomBytes(r, 45*1368)}, gsoTCP4, 1368)
	b.SetBytes(45 * 1420)
	b.ReportAllocs()
	p := make([]byte, len(data)-vnetLen)
	var f frame
	for b.Loop() {
		copy(p, data[vnetLen:vnetLen+52]) // the headers are overwritten
		if err := f.set(readVnet(data), p); err != nil {
			b.Fatal(err)
		}
		for i := range f.segments {
			f.segment(i)
		}
	}
}
