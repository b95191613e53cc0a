package secure

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// The sizes of packets: a small one, and the largest that goes through most
// tunnels.
var benchSizes = []int{64, 1420}

func BenchmarkSeal(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			client, _ := twoKeypairs(b, config(1))
			plaintext, out := make([]byte, size), make([]byte, 0, size+Overhead)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				client.seal(out, plaintext, 0)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			client, server := twoKeypairs(b, config(1))
			sealed, _ := client.seal(nil, make([]byte, size), 0)
			m := make([]byte, len(sealed))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(m, sealed) // opening overwrites it
				server.window = window{}
				d, _ := parseData(m)
				if _, _, ok := server.open(d); !ok {
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

// A burst goes through both ends of a session, in memory.
func BenchmarkConn(b *testing.B) {
	for _, size := range benchSizes {
		for _, n := range []int{1, 32} {
			b.Run(fmt.Sprintf("%d/burst=%d", size, n), func(b *testing.B) {
				move := conveyor(b, config(1), size, n)
				b.SetBytes(int64(size * n))
				b.ReportAllocs()
				for b.Loop() {
					move()
				}
			})
		}
	}
}

// The cost of an initiation for a server: of a good one, and of one from a client without
// the key.
func BenchmarkInitiation(b *testing.B) {
	now := time.Now()
	for name, key := range map[string]byte{"good": 1, "forged": 2} {
		b.Run(name, func(b *testing.B) {
			cfg, other := config(1), config(key)
			theirs, _ := cfg.complete(false)
			ours, _ := other.complete(true)
			r := &Responder{theirs}
			c := newClient(ours, NewTable(1), nobody{}, now)
			p := r.NewPeer(NewTable(1), nobody{}, slog.Default())
			messages := make([][]byte, 10000)
			for n := range messages {
				m, err := c.initiator.initiate(c.table.reserve(c), now)
				if err != nil {
					b.Fatal(err)
				}
				c.table.remove(c.initiator.reserved)
				messages[n] = m
			}
			s := &oneClient{responder: r, peer: p}
			n := 0
			for b.Loop() {
				s.newest = 0
				m := s.answer(messages[n%len(messages)], now)
				if (m != nil) != (name == "good") {
					b.Fatal("unexpected")
				}
				n++
			}
		})
	}
}
