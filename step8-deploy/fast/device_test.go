package fast

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

const limit = 60 * time.Second

// open makes a device on a host, gives it the address 10.8.0.1/24, and brings it up.
func open(t *testing.T, h *netlab.Host, o TUNOptions) (queues []*TUN, name string) {
	t.Helper()
	o.Drops = new(link.Drops)
	var err error
	h.Do(func() { queues, name, err = openTUN("", o) })
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, q := range queues {
			q.Close()
		}
	})
	h.Run(t, "ip", "address", "add", "10.8.0.1/24", "dev", name)
	h.Run(t, "ip", "link", "set", name, "up")
	return queues, name
}

func TestOpenRefusals(t *testing.T) {
	lab := netlab.New(t)
	h := lab.Alice
	_, name := open(t, h, TUNOptions{})
	h.Run(t, "ip", "tuntap", "add", "tap0", "mode", "tap")
	for name, want := range map[string]error{
		name:                     unix.EBUSY,
		"eth0":                   unix.EINVAL,
		"tap0":                   unix.EINVAL,
		"a-name-that-is-so-long": unix.EINVAL,
	} {
		var err error
		h.Do(func() { _, _, err = openTUN(name, TUNOptions{}) })
		require.ErrorIs(t, err, want, name)
	}
}

// The super-packets that a host makes are no larger than one call can send. A router's packets
// come from other hosts.
func TestSuperPacketsAreLimited(t *testing.T) {
	lab := netlab.New(t)
	_, name := open(t, lab.Alice, TUNOptions{})
	require.Contains(t, lab.Alice.Run(t, "ip", "-details", "link", "show", name), "gso_max_size 61440")
	_, router := open(t, lab.Server, TUNOptions{Router: true})
	require.Contains(t, lab.Server.Run(t, "ip", "-details", "link", "show", router), "gso_max_size 65536")
	lab.Alice.Do(func() {
		require.ErrorContains(t, limitGSO("eth1", maxGSO), "no such network interface")
		require.ErrorIs(t, limitGSO(name, 1<<30), unix.EINVAL)
	})
}

// A device is removed with its last queue.
func TestDeviceGoes(t *testing.T) {
	lab := netlab.New(t)
	queues, name := open(t, lab.Alice, TUNOptions{Queues: 2})
	require.NoError(t, queues[0].Close())
	lab.Alice.Run(t, "ip", "link", "show", name)
	require.NoError(t, queues[1].Close())
	_, err := lab.Alice.Try("ip", "link", "show", name)
	require.Error(t, err)
}

func TestDeviceDeletedBySomebodyElse(t *testing.T) {
	lab := netlab.New(t)
	queues, name := open(t, lab.Alice, TUNOptions{})
	failed := make(chan error)
	go func() {
		b := link.NewBurst()
		for {
			if err := queues[0].ReadBurst(b); err != nil {
				failed <- err
				return
			}
		}
	}()
	lab.Alice.Run(t, "ip", "link", "delete", name)
	require.EqualError(t, <-failed, "device "+name+" was deleted by somebody else")
	err := queues[0].WriteBurst(burstOf(spec{}.packet()))
	require.EqualError(t, err, "device "+name+" was deleted by somebody else")
}

// If a device is down, or a packet is not IP, the packet is dropped, and the device stays.
func TestDeviceRefusesPackets(t *testing.T) {
	lab := netlab.New(t)
	queues, name := open(t, lab.Alice, TUNOptions{})
	dev := queues[0]
	require.NoError(t, dev.WriteBurst(burstOf([]byte{}, []byte{0}, spec{}.packet(), make([]byte, 2000))))
	require.Equal(t, "malformed 3", dev.o.Drops.String())

	lab.Alice.Run(t, "ip", "link", "set", name, "down")
	list := stream(newRand(1), spec{}, 3, 1000)
	require.NoError(t, dev.WriteBurst(burstOf(packets(list)...)))
	require.Equal(t, "malformed 3, unreachable 3", dev.o.Drops.String())
	require.False(t, dev.o.NoGRO, "that says nothing about super-packets")
}

// The queues share the packets, and the packets of a flow stay in one queue.
func TestQueues(t *testing.T) {
	lab := netlab.New(t)
	queues, _ := open(t, lab.Alice, TUNOptions{Queues: 4})
	require.Len(t, queues, 4)
	type arrival struct {
		queue, port int
	}
	arrivals := make(chan arrival, 10000)
	for i, q := range queues {
		go func() {
			b := link.NewBurst()
			for q.ReadBurst(b) == nil {
				for j := range b.Len() {
					if p := b.At(j); p[0]>>4 == 4 && p[9] == 17 {
						arrivals <- arrival{i, int(p[20])<<8 | int(p[21])}
					}
				}
			}
		}()
	}
	const flows, each = 32, 5
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.8.0.9:9"))
	for range flows {
		var conn *net.UDPConn
		var err error
		lab.Alice.Do(func() { conn, err = net.DialUDP("udp", nil, to) })
		require.NoError(t, err)
		for range each {
			_, err := conn.Write([]byte("x"))
			require.NoError(t, err)
		}
		conn.Close()
	}
	used, of := make(map[int]int), make(map[int]int)
	for range flows * each {
		select {
		case a := <-arrivals:
			used[a.queue]++
			if q, ok := of[a.port]; ok {
				require.Equal(t, q, a.queue, "port %d", a.port)
			}
			of[a.port] = a.queue
		case <-time.After(limit):
			t.Fatal("packets are missing")
		}
	}
	require.Greater(t, len(used), 1)
}

// program returns the socket of a program on a host, which sends packets through the host's
// tunnel.
func program(t *testing.T, h *netlab.Host) *UDP {
	t.Helper()
	var conn *net.UDPConn
	var err error
	h.Do(func() {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.8.0.9:9")))
	})
	require.NoError(t, err)
	app, err := NewUDP(conn, options(UDPOptions{}))
	require.NoError(t, err)
	t.Cleanup(func() { app.Close() })
	return app
}

// A router's reader is told whether there is more to read, after super-packets and after whole
// packets.
func TestMore(t *testing.T) {
	lab := netlab.New(t)
	queues, _ := open(t, lab.Alice, TUNOptions{Router: true})
	app := program(t, lab.Alice)
	super, single := burstOf(repeatBytes(1000, 10)...), burstOf([]byte("x"))
	b := link.NewBurst()
	for _, written := range [][]*link.Burst{{super}, {super, super, super}, {single, single, super, single}} {
		want := 0
		for _, w := range written {
			require.NoError(t, app.WriteBurst(w))
			want += w.Len()
		}
		for got := 0; got < want; {
			require.NoError(t, queues[0].ReadBurst(b))
			if p := b.At(0); p[0]>>4 != 4 || p[9] != 17 {
				continue // the kernel's own packets
			}
			got += b.Len()
			require.Equal(t, got < want, b.Hints.More, "after %d of %d packets", got, want)
		}
	}
}

// A host's UDP datagrams of the same size become one super-packet, in both directions, if the
// host's kernel supports that.
func TestUDPSuperPackets(t *testing.T) {
	lab := netlab.New(t)
	queues, name := open(t, lab.Alice, TUNOptions{})
	require.True(t, queues[0].writer.udp, "this kernel can")
	app := program(t, lab.Alice)
	want := sizes(newRand(2), repeat(1000, 30)...)
	require.NoError(t, app.WriteBurst(burstOf(want...)))
	b := link.NewBurst()
	for {
		require.NoError(t, queues[0].ReadBurst(b))
		if p := b.At(0); p[0]>>4 == 4 && p[9] == 17 {
			break
		}
	}
	require.Equal(t, 30, b.Len())
	var back [][]byte
	for i := range b.Len() {
		p := b.At(i)
		require.Equal(t, want[i], p[28:])
		require.Zero(t, transportChecksum(p[12:20], 17, p[20:]))
		back = append(back, answer(p))
	}

	wire := lab.Alice.Capture(t, name, "udp and src 10.8.0.9")
	require.NoError(t, queues[0].WriteBurst(burstOf(back...)))
	got, _ := receive(t, app, 30, netip.MustParseAddrPort("10.8.0.9:9"))
	require.Equal(t, want, got)
	require.Len(t, wire.Stop(), 1)
}

// answer exchanges the source and the destination of a UDP packet. Its checksum stays correct.
func answer(p []byte) []byte {
	p = bytes.Clone(p)
	for i := range 4 {
		p[12+i], p[16+i] = p[16+i], p[12+i]
	}
	p[20], p[21], p[22], p[23] = p[22], p[23], p[20], p[21]
	return p
}
