package hub

import (
	"context"
	"encoding/binary"
	"math"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/protocol"
)

// A thief has a client's file, and not its password.

// crowdFor is a hub that does not run, with a registry.
func crowdFor(t *testing.T, change func(*Config)) (*crowd, *registry) {
	r := newRegistry()
	return gather(t, 0, 64, func(cfg *Config) {
		cfg.MaxClients, cfg.Admission = 8, r
		if change != nil {
			change(cfg)
		}
	}), r
}

// ask lets the hub admit a raw client, and returns the answer.
func (c *crowd) ask(t testing.TB, r *raw, key noise.PrivateKey, h hello, at time.Time) []byte {
	k := handshake{via: c.queue, by: c.hub.entrances[0], from: r.addr}
	k.len = copy(k.message[:], r.initiation(t, key, h))
	return c.hub.admit(&k, at)
}

// accepted reports whether an answer lets a raw client in to the login.
func (r *raw) accepted(t testing.TB, answer []byte) bool {
	if answer == nil {
		return false
	}
	payload, err := r.handshake.ReadMessage(nil, answer[12:])
	require.NoError(t, err)
	return payload[0] == 0
}

// neighbour is a raw client at an address that is near that of newRaw(1), and at
// another port.
func neighbour() *raw {
	r := newRaw(2)
	r.addr = netip.AddrPortFrom(newRaw(1).addr.Addr().Next(), 7)
	return r
}

// A hello of the last time that there is, or of one far ahead, shuts nobody out. The
// detector: in the same session, an earlier time is refused.
func TestThiefAheadOfTime(t *testing.T) {
	for _, ahead := range []uint64{math.MaxUint64, math.MaxUint64 / 2, uint64(time.Now().AddDate(5, 0, 0).UnixNano()), uint64(time.Now().Add(time.Hour).UnixNano())} {
		c, r := crowdFor(t, nil)
		key := r.add(Account{Name: "alice", NeedsPassword: true})
		now := time.Now()
		thief := newRaw(1)
		require.True(t, thief.accepted(t, c.ask(t, thief, key, hello{Time: ahead, Instance: 666}, now)))
		require.False(t, thief.accepted(t, c.ask(t, thief, key, hello{Time: ahead - 1, Instance: 666}, now.Add(time.Second))))
		now = now.Add(2 * time.Second)
		owner := neighbour()
		require.True(t, owner.accepted(t, c.ask(t, owner, key, hello{Time: uint64(now.UnixNano()), Instance: 1}, now)), ahead)
	}
}

// A client that has named such a time, and was let in, does not shut its own identity out
// either.
func TestAbsurdTimeOfOwn(t *testing.T) {
	c, r := crowdFor(t, nil)
	key := r.add(Account{Name: "alice"})
	now := time.Now()
	before := newRaw(1)
	c.receive(t, before.addr, before.response(t, c.ask(t, before, key, hello{Time: math.MaxUint64, Instance: 1}, now), 64))
	require.Len(t, c.hub.Snapshot(), 1)
	after := neighbour()
	now = now.Add(time.Second)
	require.True(t, after.accepted(t, c.ask(t, after, key, hello{Time: uint64(now.UnixNano()), Instance: 2}, now)))
}

// Hellos every 5 ms, of one instance or of another each time, from a neighbour's
// address do not keep the owner from being answered each time.
func TestThiefAsksWithoutEnd(t *testing.T) {
	for name, instance := range map[string]func(int) uint64{
		"one instance": func(int) uint64 { return 666 },
		"many":         func(i int) uint64 { return 1000 + uint64(i) },
	} {
		t.Run(name, func(t *testing.T) {
			c, r := crowdFor(t, nil)
			key := r.add(Account{Name: "alice", NeedsPassword: true})
			thief, owner := newRaw(1), neighbour()
			start := time.Now()
			asked, in := 0, 0
			for ms := 0; ms < 5000; ms += 5 {
				at := start.Add(time.Duration(ms) * time.Millisecond)
				c.ask(t, thief, key, hello{Time: uint64(at.Add(time.Hour).UnixNano()), Instance: instance(ms)}, at)
				if ms%500 == 250 {
					asked++
					at = at.Add(2 * time.Millisecond)
					if owner.accepted(t, c.ask(t, owner, key, hello{Time: uint64(at.UnixNano()), Instance: uint64(asked)}, at)) {
						in++
					}
				}
			}
			require.Equal(t, asked, in)
		})
	}
}

// A thief that asks without end, and comes as far as to the question for the
// password, does not push out the owner who is about to answer it, and the owner is
// never told that another machine has taken its place.
func TestThiefWhileOwnerLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := serveLogin(t, 3*time.Second)
		key := w.add(Account{Name: "alice", NeedsPassword: true})
		stop, done := make(chan struct{}), make(chan struct{})
		addr := netip.MustParseAddrPort("198.51.100.66:6")
		end := w.Attach(addr, serverAddr)
		answers := make(chan []byte, 1000)
		go func() {
			defer close(answers)
			b := link.NewBurst()
			for end.ReadBurst(b) == nil {
				for i := range b.Len() {
					answers <- append([]byte(nil), b.At(i)...)
				}
			}
		}()
		came := 0
		go func() {
			defer close(done)
			for i := uint64(1); ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				r := newRaw(1)
				r.addr = addr
				write(t, end, r.initiation(t, key, hello{Time: uint64(time.Now().UnixNano()), Instance: i}))
				synctest.Wait()
				for len(answers) > 0 {
					if m := <-answers; m[0] == 2 && binary.LittleEndian.Uint32(m[4:]) != 0 {
						if first := r.response(t, m, 64); first != nil {
							write(t, end, first)
							came++
						}
					}
				}
			}
		}()
		time.Sleep(time.Second)
		for range 3 {
			alice, err := w.login(key, "alice", "right")
			require.NoError(t, err)
			write(t, alice, ip(alice.v4(), web, "x"))
			require.Equal(t, ip(alice.v4(), web, "x"), w.read())
			alice.Close()
			time.Sleep(time.Second)
		}
		close(stop)
		<-done
		require.Greater(t, came, 30, "the detector: the thief is asked for the password")
		require.LessOrEqual(t, w.hub.table.Len(), 64)
		end.Close()
		time.Sleep(2 * time.Minute)
		require.Zero(t, w.hub.table.Len(), "no place is lost")
		require.Empty(t, w.names())
		require.Zero(t, w.holding())
		w.stop()
	})
}

// The registry is asked once more when the first packet of a client comes that was let in:
// it may have changed since the initiation, before the client could be cut off.
func TestRegistryIsAskedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after Account
	}{
		"password": {Account{Name: "alice"}, Account{Name: "alice", NeedsPassword: true}},
		"expired":  {Account{Name: "alice"}, Account{Name: "alice", Expires: time.Now().Add(-time.Second)}},
		"login":    {Account{Name: "alice", NeedsPassword: true}, Account{Name: "alice", NeedsPassword: true, Expires: time.Now().Add(-time.Second)}},
	} {
		for _, changes := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				d := &doorbell{}
				c, r := crowdFor(t, d.in)
				d.Admission = r
				key := r.add(tt.before)
				client := newRaw(1)
				first := client.response(t, c.ask(t, client, key, hello{Time: 1, Instance: 1}, time.Now()), 64)
				change := func() {
					if changes {
						r.mu.Lock()
						r.accounts[key.Public()] = tt.after
						r.mu.Unlock()
					}
				}
				if !tt.before.NeedsPassword {
					change()
				}
				c.receive(t, client.addr, first)
				if tt.before.NeedsPassword {
					c.receive(t, client.addr, client.seal(nil, loginMessage("alice", "right")))
					change()
					c.hub.checkLogin(context.Background(), <-c.hub.logins)
				}
				c.receive(t, client.addr, client.seal(nil, client.packet))
				if !changes {
					require.Equal(t, 1, c.in.Len(), "the detector: a packet passes")
					return
				}
				require.Zero(t, c.in.Len(), "no packet passes")
				require.Empty(t, c.hub.Snapshot())
				require.Zero(t, c.hub.table.Len())
			})
		}
	}
}

// loginMessage is the control message of a login.
func loginMessage(user, password string) []byte {
	l := protocol.Login{User: user, Password: password}.Append(nil)
	m := append([]byte{0, protocol.KindLogin, 0, 0}, l...)
	binary.LittleEndian.PutUint16(m[2:], uint16(len(l)))
	return m
}

// A stranger's datagrams, that name each place of the table with each type, end no
// handshake that is being answered; and no place is lost, when each client leaves
// while its next initiation is being answered.
func TestStrangerWhileHandshakes(t *testing.T) {
	c, r := crowdFor(t, nil)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		in, across := link.NewBurst(), c.hub.newSealer(c.queue)
		q := c.hub.newQueue(Queue{Device: &sink{}, Socket: &sink{}})
		for n := uint32(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			in.Reset()
			in.Addr = netip.MustParseAddrPort("198.51.100.66:6")
			for range 64 {
				m := in.Alloc([]int{16, 32, 48, 64}[n/4%4])
				clear(m)
				m[0] = byte(1 + n%4)
				binary.LittleEndian.PutUint32(m[4:], n/16)
				binary.LittleEndian.PutUint32(m[8:], n/16)
				n++
			}
			c.hub.openBurst(q, in, across, time.Now())
			for len(c.hub.handshakes) > 0 {
				<-c.hub.handshakes
			}
		}
	})
	key := r.add(Account{Name: "mallory"})
	at := time.Now()
	for i := range uint64(300) {
		at = at.Add(time.Second)
		m := newRaw(1)
		first := m.response(t, c.ask(t, m, key, hello{Time: 2*i + 1, Instance: i + 1}, at), 64)
		c.receive(t, m.addr, first)
		require.Len(t, c.hub.Snapshot(), 1)
		again, done := newRaw(1), make(chan struct{})
		k := handshake{via: c.queue, by: c.hub.entrances[0], from: m.addr}
		k.len = copy(k.message[:], again.initiation(t, key, hello{Time: 2*i + 2, Instance: i + 1}))
		go func() {
			defer close(done)
			c.hub.admit(&k, at.Add(500*time.Millisecond))
		}()
		for s := time.Now(); time.Since(s) < time.Duration(i)*time.Microsecond; {
		}
		c.receive(t, m.addr, m.seal(nil, []byte{0, 1, 0, 0}))
		<-done
		for _, cl := range c.hub.directory.of(key.Public()) {
			c.hub.leave(cl, "the test", at)
		}
		require.Zero(t, c.hub.table.Len())
	}
	close(stop)
	flood.Wait()
}
