package limits

import (
	"testing"

	"stepvpn/shared/link"
	"stepvpn/step8-deploy/further/limits/plan"
)

func benchmark(b *testing.B, options string) {
	s := newServer(b, plan.Plan{}, options)
	c, p := s.Of(key(0)), datagram(1420, 1)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		c.Send(p, link.Hints{})
	}
}

// What it costs a packet to be asked about.
func BenchmarkNoLimit(b *testing.B)   { benchmark(b, "") }
func BenchmarkWithLimit(b *testing.B) { benchmark(b, "down=100Gbit/s") }
func BenchmarkWithQuota(b *testing.B) { benchmark(b, "quota=1000TB/month") }
