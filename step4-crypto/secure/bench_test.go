package secure

import (
	"fmt"
	"testing"
)

// The sizes of packets: a small one, and the largest that goes through most
// tunnels.
var benchSizes = []int{64, 1420}

func BenchmarkSeal(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			client, _ := twoSessions(b, config(1))
			plaintext, out := make([]byte, size), make([]byte, 0, size+Overhead)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				client.seal(out, plaintext)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			client, server := twoSessions(b, config(1))
			sealed, _ := client.seal(nil, make([]byte, size))
			m := make([]byte, len(sealed))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(m, sealed) // opening overwrites it
				server.window = window{}
				d, _ := parseData(m)
				if _, ok := server.open(d); !ok {
					b.Fatal("does not open")
				}
			}
		})
	}
}

func BenchmarkWindow(b *testing.B) {
	b.ReportAllocs()
	var w window
	counter := uint64(0)
	for b.Loop() {
		if w.fresh(counter) {
			w.mark(counter)
		}
		counter++
	}
}
