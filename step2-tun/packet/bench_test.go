package packet

import (
	"fmt"
	"testing"
)

var benchPackets = []struct {
	name   string
	packet []byte
}{
	{"ipv4-tcp", v4(ProtoTCP, tcp(40000, 80, 0x18, zeros(1380)))},
	{"ipv6-udp", v6(ProtoUDP, udp(40000, 5555, zeros(1372)))},
	{"ipv6-extensions", v6(HopByHop, extension(DestinationOptions, 0), extension(ProtoUDP, 0), udp(1, 2, zeros(1000)))},
}

// Check is on the data path: 0 allocs/op.
func BenchmarkCheck(b *testing.B) {
	for _, c := range benchPackets {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(c.packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchPackets {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.packet); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 1500} {
		b.Run(fmt.Sprintf("%d-bytes", n), func(b *testing.B) {
			data := zeros(n)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				Checksum(data)
			}
		})
	}
}
