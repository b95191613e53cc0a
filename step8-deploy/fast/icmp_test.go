package fast_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step8-deploy/fast"
)

// limit bounds each wait; a busy machine is slow.
const limit = 30 * time.Second

// A pair has a server's end on the lab's server, and a client's end on alice.
type pair struct {
	*netlab.Lab
	server, client link.Link
	from, to       netip.AddrPort // the client and the server
	drops          link.Drops     // the client's
}

func connect(t *testing.T, lab *netlab.Lab, addr netip.Addr, offloads bool) *pair {
	t.Helper()
	p := &pair{Lab: lab, to: netip.AddrPortFrom(addr, lab.Port)}
	var err error
	lab.Server.Do(func() {
		var list []transport.Conn
		if list, err = fast.Listen(transport.UDP, p.to, 1, offloads, transport.Options{Drops: new(link.Drops)}); err == nil {
			p.server = list[0]
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() { p.server.Close() })
	lab.Alice.Do(func() {
		p.client, err = fast.Dial(transport.UDP, p.to, offloads, transport.Options{Drops: &p.drops})
	})
	require.NoError(t, err)
	t.Cleanup(func() { p.client.Close() })
	p.up(t, 1)
	return p
}

// up sends packets to the server, and returns how many reads the server needed.
func (p *pair) up(t *testing.T, n int) (reads int) {
	t.Helper()
	defer time.AfterFunc(limit, func() { p.server.Close() }).Stop()
	b := link.NewBurst()
	for i := range n {
		b.Alloc(1000)[0] = byte(i)
	}
	require.NoError(t, p.client.WriteBurst(b))
	in := link.NewBurst()
	for got := 0; got < n; reads++ {
		require.NoError(t, p.server.ReadBurst(in))
		p.from = in.Addr
		for i := range in.Len() {
			require.EqualValues(t, got, in.At(i)[0])
			got++
		}
	}
	return reads
}

// down sends a packet to the client.
func (p *pair) down(t *testing.T, text string) {
	t.Helper()
	b := link.NewBurst()
	b.Addr = p.from
	copy(b.Alloc(len(text)), text)
	require.NoError(t, p.server.WriteBurst(b))
}

// forEach runs a test with all kinds of UDP sockets.
func forEach(t *testing.T, try func(t *testing.T, lab *netlab.Lab, server netip.Addr, offloads bool)) {
	for _, offloads := range []bool{true, false} {
		for _, ip := range []string{"IPv4", "IPv6"} {
			t.Run(fmt.Sprintf("%s, offloads %v", ip, offloads), func(t *testing.T) {
				lab := netlab.New(t)
				addr := lab.Server.V4
				if ip == "IPv6" {
					addr = lab.Server.V6
				}
				try(t, lab, addr, offloads)
			})
		}
	}
}

// A client that waits for packets goes on waiting, whatever a forged ICMP message says.
func TestNoICMPMessageEndsReading(t *testing.T) {
	forEach(t, func(t *testing.T, lab *netlab.Lab, addr netip.Addr, offloads bool) {
		p := connect(t, lab, addr, offloads)
		got := make(chan string)
		go func() {
			defer close(got)
			b := link.NewBurst()
			for p.client.ReadBurst(b) == nil {
				for i := range b.Len() {
					got <- string(bytes.Clone(b.At(i)))
				}
			}
		}()
		for _, m := range netlab.ICMPErrors(addr) {
			lab.Web.Forge(t, m, lab.Alice, p.from, p.to)
			p.down(t, m.String())
			select {
			case text, ok := <-got:
				require.True(t, ok, "%v has ended it", m)
				require.Equal(t, m.String(), text)
			case <-time.After(limit):
				require.FailNow(t, "no packet came", "%v", m)
			}
		}
		require.Positive(t, p.drops.Count(link.Unreachable), "the messages have reached the socket")
		p.client.Close()
		for range got {
		}
	})
}

// A client that sends loses no packet because of such a message, and does not slow down.
func TestNoICMPMessageEndsWriting(t *testing.T) {
	forEach(t, func(t *testing.T, lab *netlab.Lab, addr netip.Addr, offloads bool) {
		p := connect(t, lab, addr, offloads)
		const packets = 40
		for _, m := range netlab.ICMPErrors(addr) {
			lab.Web.Forge(t, m, lab.Alice, p.from, p.to)
			reads := p.up(t, packets)
			if offloads {
				require.Equal(t, 1, reads, "%v: it has sent them packet by packet", m)
			}
		}
		require.Positive(t, p.drops.Count(link.Unreachable), "the messages have reached the socket")
	})
}

// "Fragmentation needed" is not believed: otherwise this host would fragment everything that
// it sends.
func TestNoICMPMessageSwitchesOffloadsOff(t *testing.T) {
	lab := netlab.New(t)
	p := connect(t, lab, lab.Server.V4, true)
	m := netlab.ICMP{Type: 3, Code: 4, MTU: 576}
	lab.Web.Forge(t, m, lab.Alice, p.from, p.to)
	require.Equal(t, 1, p.up(t, 40))

	// Another socket believes it, and so does the host.
	var other net.Conn
	var err error
	lab.Alice.Do(func() { other, err = net.Dial("udp", p.to.String()) })
	require.NoError(t, err)
	defer other.Close()
	lab.Web.Forge(t, m, lab.Alice, other.LocalAddr().(*net.UDPAddr).AddrPort(), p.to)
	require.Contains(t, lab.Alice.Run(t, "ip", "route", "get", p.to.Addr().String()), "mtu 576")
	require.Equal(t, 1, p.up(t, 40))
}
