package fast

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// This is the table of RFC 6040, section 4.2, figure 4.
func TestMarksComeIn(t *testing.T) {
	const drop = 99
	for inner, row := range map[byte][4]byte{ // outer: Not-ECT, ECT(0), ECT(1), CE
		notECT: {notECT, notECT, notECT, drop},
		ect0:   {ect0, ect0, ect1, ce},
		ect1:   {ect1, ect1, ect1, ce},
		ce:     {ce, ce, ce, ce},
	} {
		for i, outer := range []byte{notECT, ect0, ect1, ce} {
			for _, v6 := range []bool{false, true} {
				s := spec{v6: v6, tos: 0xb8 | inner, payload: []byte("x")}
				b := burstOf(s.packet(), s.packet())
				b.Hints.Class = 0x20 | outer // the outer DSCP stays outside
				var drops link.Drops
				unmark(b, &drops)
				if row[i] == drop {
					require.Zero(t, b.Len())
					require.EqualValues(t, 2, drops.Count(Congested))
					continue
				}
				require.Equal(t, "none", drops.String())
				s.tos = 0xb8 | row[i]
				want := s.packet()
				require.Equal(t, 2, b.Len())
				require.Equal(t, want, b.At(0), "inner %d, outer %d", inner, outer)
				require.Equal(t, want, b.At(1))
			}
		}
	}
}

// Bytes that are no packet pass unchanged: the kernel refuses them.
func TestMarkOnGarbage(t *testing.T) {
	for _, p := range [][]byte{{}, {0x45}, {0x60, 0x20}, {0x45, 2, 0}, make([]byte, 100)} {
		b := burstOf(p)
		b.Hints.Class = ect1
		unmark(b, new(link.Drops))
		require.Equal(t, 1, b.Len())
		require.Equal(t, p, b.At(0))
	}
}

// All packets of a burst have the same class.
func TestBurstsOfOneClass(t *testing.T) {
	dev, kernel := device(t, TUNOptions{})
	tos := []byte{2, 2, 0xb8, 0xb8, 0xba, 0xba, 0xba, 0}
	for i, tos := range tos {
		give(t, kernel, super(spec{v6: i%2 == 0, tos: tos, payload: []byte("x")}, gsoNone, 0))
	}
	give(t, kernel, super(spec{tos: 1, payload: make([]byte, 3000)}, gsoTCP4, 1000))
	b := link.NewBurst()
	var lengths []int
	var classes []byte
	for n := 0; n < len(tos)+3; n += b.Len() {
		require.NoError(t, dev.ReadBurst(b))
		lengths, classes = append(lengths, b.Len()), append(classes, b.Hints.Class)
	}
	require.Equal(t, []int{2, 2, 3, 1, 3}, lengths)
	require.Equal(t, []byte{2, 0, 2, 0, 1}, classes)
}

// The datagrams of a burst have its class.
func TestUDPClass(t *testing.T) {
	for _, c := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {":0", "127.0.0.1"}, {":0", "::1"}, {"0.0.0.0:0", "127.0.0.1"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			server, addr := listen(t, c.listen, UDPOptions{})
			client, clientAddr := dial(t, netip.AddrPortFrom(netip.MustParseAddr(c.dial), addr.Port()), UDPOptions{})
			in := link.NewBurst()
			for _, class := range []byte{0, ect0, ce, 0xb8 | ect1, 0} {
				for _, n := range []int{1, 20} {
					out := burstOf(repeatBytes(500, n)...)
					out.Hints.Class = class
					require.NoError(t, client.WriteBurst(out))
					for got := 0; got < n; got += in.Len() {
						require.NoError(t, server.ReadBurst(in))
						require.Equal(t, class, in.Hints.Class)
					}
					out.Addr = clientAddr
					require.NoError(t, server.WriteBurst(out))
					for got := 0; got < n; got += in.Len() {
						require.NoError(t, client.ReadBurst(in))
						require.Equal(t, class, in.Hints.Class)
					}
				}
			}
			require.Equal(t, "none", server.o.Drops.String())
		})
	}
}
