package noise

import (
	"fmt"
	"testing"
)

func BenchmarkSeal(b *testing.B) {
	for _, suite := range suites {
		for _, n := range []int{64, 1400, 1420} {
			b.Run(fmt.Sprintf("%s/%d", suite.name, n), func(b *testing.B) {
				c := newCipher(suite, new([KeyLen]byte))
				header, text := make([]byte, 16), make([]byte, n)
				sealed := make([]byte, 0, n+TagLen)
				var counter uint64
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					sealed = c.Seal(sealed[:0], counter, header, text)
					counter++
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, suite := range suites {
		for _, n := range []int{64, 1400, 1420} {
			b.Run(fmt.Sprintf("%s/%d", suite.name, n), func(b *testing.B) {
				c := newCipher(suite, new([KeyLen]byte))
				header := make([]byte, 16)
				sealed := c.Seal(nil, 1, header, make([]byte, n))
				text := make([]byte, 0, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if text, err = c.Open(text[:0], 1, header, sealed); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkHandshake does both sides' work.
func BenchmarkHandshake(b *testing.B) {
	for _, suite := range suites {
		for _, pattern := range patterns {
			b.Run(pattern.name+"_"+suite.name, func(b *testing.B) {
				initiator, responder := configs(suite, pattern)
				b.ReportAllocs()
				for b.Loop() {
					exchange(b, begin(b, initiator), begin(b, responder), nil)
				}
			})
		}
	}
}

// BenchmarkForged is what a forged first message costs the responder.
func BenchmarkForged(b *testing.B) {
	for _, pattern := range patterns {
		b.Run(pattern.name, func(b *testing.B) {
			_, cfg := configs(AESGCMSHA256, pattern)
			forged := make([]byte, 128)
			forged[0] = 9
			b.ReportAllocs()
			for b.Loop() {
				if _, err := begin(b, cfg).ReadMessage(nil, forged); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
