package hub

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// control returns a control message, sealed.
func (r *raw) control(kind byte, content []byte) []byte {
	m := binary.LittleEndian.AppendUint16([]byte{0, kind}, uint16(len(content)))
	return r.seal(nil, append(m, content...))
}

// echoing has a hub answer each control message by a probe of its length.
func echoing(c *Config) {
	c.Control = func(from Session, kind byte, content []byte) bool {
		from.Probe(kind, content)
		return true
	}
}

// A probe is as long as it says, and asks not to be fragmented. Other messages do not.
func TestProbe(t *testing.T) {
	c := gather(t, 1, 64, func(cfg *Config) {
		echoing(cfg)
		cfg.MTU = 1400
	})
	c.socket.keep = true
	for _, size := range []int{0, 1, 1001, 60000} {
		m := c.clients[0].control(9, make([]byte, size))
		c.receive(t, c.clients[0].addr, m)
		require.Len(t, c.socket.last, len(m))
		require.True(t, c.socket.whole)
	}
	session := Session(c.hub.directory.at(c.clients[0].welcome.Addrs[0].Addr()))
	session.Control(9, make([]byte, 1001))
	require.Len(t, c.socket.last, 1008+secure.Overhead, "padded")
	require.False(t, c.socket.whole)
	require.Len(t, session.Addrs(), len(c.clients[0].welcome.Addrs))
}

// A client that asks for probes without end gets a bounded number per second.
func TestProbesAreBounded(t *testing.T) {
	var p probes
	now := int64(time.Hour)
	taken := func(asked int) (n int) {
		for range asked {
			if p.take(now) {
				n++
			}
		}
		return n
	}
	require.Equal(t, probesAtOnce, taken(10*probesAtOnce))
	now += int64(time.Second)
	require.Equal(t, probesPerSecond, taken(10*probesAtOnce))
	now += int64(time.Hour)
	require.Equal(t, probesAtOnce, taken(10*probesAtOnce))

	c := gather(t, 1, 64, echoing)
	before := c.socket.packets
	for range 10 * probesAtOnce {
		c.receive(t, c.clients[0].addr, c.clients[0].control(9, nil))
	}
	require.GreaterOrEqual(t, c.socket.packets-before, probesAtOnce)
	require.Contains(t, c.hub.drops.String(), "queue-full")
}

// Control messages of a client that has not given its password yet do not count.
func TestControlTakesALogin(t *testing.T) {
	heard := 0
	c, r := crowdFor(t, func(cfg *Config) {
		cfg.Control = func(Session, byte, []byte) bool { heard++; return true }
	})
	say := func(a Account) {
		c.connect(t, newRaw(len(c.clients)), r.add(a), 64)
		last := c.clients[len(c.clients)-1]
		c.receive(t, last.addr, last.control(protocol.FirstKind, nil))
	}
	say(Account{Name: "alice"})
	require.Equal(t, 1, heard)
	say(Account{Name: "bob", NeedsPassword: true})
	require.Equal(t, 1, heard)
	require.Equal(t, "not-logged-in 1", c.hub.drops.String())
}
