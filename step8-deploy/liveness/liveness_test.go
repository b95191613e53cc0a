package liveness

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Monitor
		inside, outside := link.Pipe(1)
		l := m.Watch("pipe", inside)
		work := make(chan bool)
		done := make(chan error)
		go func() {
			b := link.NewBurst()
			for {
				if err := l.ReadBurst(b); err != nil {
					done <- err
					return
				}
				<-work
			}
		}()
		give := func() {
			b := link.NewBurst()
			copy(b.Alloc(3), "abc")
			require.NoError(t, outside.WriteBurst(b))
			synctest.Wait()
		}
		well := func() {
			t.Helper()
			synctest.Wait()
			require.NoError(t, m.Check())
		}
		well()
		well() // it may wait for packets for any time
		give()
		well() // it has just received some
		require.EqualError(t, m.Check(), "packets from the pipe have been stuck since the last check")
		require.Error(t, m.Check(), "and still")
		work <- true
		well()
		give()
		well()
		work <- true
		synctest.Wait()
		give()
		well() // other packets than before
		l.Close()
		well() // a goroutine whose Link has ended is not watched
		well()
		work <- true
		require.Error(t, <-done)
		require.Empty(t, m.list)
	})
}

// still is a network whose writes block until it is told to go on.
type still struct {
	nothing
	take chan bool
}

func (s still) WriteBurst(*link.Burst) error { <-s.take; return nil }
func (s still) Close() error                 { return nil }

// No goroutine is blamed while a network accepts no packets. If one is stuck after that, it
// is.
func TestNetworkStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Monitor
		device, host := link.Pipe(1)
		s := still{take: make(chan bool)}
		from, to := m.Watch("device", device), m.Network(s)
		work, done := make(chan bool), make(chan bool)
		go func() {
			defer close(done)
			for b := link.NewBurst(); from.ReadBurst(b) == nil; <-work {
				to.WriteBurst(b)
			}
		}()
		b := link.NewBurst()
		copy(b.Alloc(3), "abc")
		require.NoError(t, host.WriteBurst(b))
		for range 4 {
			synctest.Wait()
			require.NoError(t, m.Check())
		}
		s.take <- true
		synctest.Wait()
		m.Check() // until now, it may have been the network's fault
		require.EqualError(t, m.Check(), "packets from the device have been stuck since the last check")
		to.Close()
		m.Check()
		require.Empty(t, m.networks)
		from.Close()
		work <- true
		<-done
	})
}

func TestAllocs(t *testing.T) {
	var m Monitor
	l := m.Watch("nothing", nothing{})
	b := link.NewBurst()
	require.Zero(t, testing.AllocsPerRun(100, func() { l.ReadBurst(b) }))
	taken := make(chan bool)
	close(taken)
	n := m.Network(still{take: taken})
	require.Zero(t, testing.AllocsPerRun(100, func() { n.WriteBurst(b) }))
}

type nothing struct{ link.Link }

func (nothing) ReadBurst(*link.Burst) error { return nil }

// Other methods of a Link are passed on.
func TestPeerMoved(t *testing.T) {
	var m Monitor
	var below keeping
	l := m.Watch("keeper", &below)
	a, z := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	l.(link.PeerKeeper).PeerMoved(a, z)
	require.Equal(t, keeping{nil, a, z}, below)
	m.Network(&below).(link.PeerKeeper).PeerMoved(z, a)
	require.Equal(t, keeping{nil, z, a}, below)
	m.Watch("nothing", nothing{}).(link.PeerKeeper).PeerMoved(a, z) // no program listens there
}

// keeping is a link.PeerKeeper.
type keeping struct {
	link.Link
	before, now netip.AddrPort
}

func (k *keeping) PeerMoved(before, now netip.AddrPort) { k.before, k.now = before, now }
