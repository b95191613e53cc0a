package pool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/soak"
	"stepvpn/step4-crypto/noise"
)

// A model says what a pool may do, in the simplest way: it has a table of all
// addresses and goes over it each time.
type model struct {
	grace time.Duration
	table map[netip.Addr]*row // all that clients can have
}

type row struct {
	owner noise.PublicKey // who had it last, or nobody
	used  bool            // by anybody, ever
	inUse bool
	until time.Time // when it was released
	fixed noise.PublicKey
}

func newModel(grace time.Duration, subnets ...netip.Prefix) *model {
	m := &model{grace: grace, table: make(map[netip.Addr]*row)}
	for _, server := range subnets {
		net := server.Masked()
		for a := net.Addr(); net.Contains(a); a = a.Next() {
			isNetwork, isBroadcast := a == net.Addr(), a.Is4() && !net.Contains(a.Next())
			if !isNetwork && !isBroadcast && a != server.Addr() {
				m.table[a] = &row{}
			}
		}
	}
	return m
}

// addrOf returns the address that belongs to a client in a family: its fixed one,
// or the one that it had, if nobody has it since.
func (m *model) addrOf(id noise.PublicKey, v4 bool) (addr netip.Addr) {
	for a, r := range m.table {
		if a.Is4() == v4 && r.fixed == id {
			return a
		}
		if a.Is4() == v4 && r.owner == id && r.fixed == nobody {
			addr = a
		}
	}
	return addr
}

// free returns the addresses of a family that a new client may get: one that was
// never used, else the one released longest ago, if its grace time has passed.
func (m *model) free(now time.Time, v4 bool) (list []netip.Addr) {
	var oldest time.Time
	for a, r := range m.table {
		if a.Is4() == v4 && r.fixed == nobody && !r.used {
			list = append(list, a)
		}
	}
	if list != nil {
		return list
	}
	for a, r := range m.table {
		if a.Is4() != v4 || r.fixed != nobody || r.inUse || now.Sub(r.until) < m.grace {
			continue
		}
		if list == nil || r.until.Before(oldest) {
			list, oldest = nil, r.until
		}
		if r.until.Equal(oldest) {
			list = append(list, a)
		}
	}
	return list
}

// join says that a client asked, and checks what it got.
func (m *model) join(t testing.TB, id noise.PublicKey, now time.Time, got []netip.Prefix, err error) {
	possible := make(map[bool][]netip.Addr)
	blocked := false
	for _, v4 := range []bool{true, false} {
		if a := m.addrOf(id, v4); a.IsValid() {
			possible[v4] = []netip.Addr{a}
			blocked = blocked || m.table[a].inUse && m.table[a].owner != id
		} else {
			possible[v4] = m.free(now, v4)
		}
	}
	full := len(possible[true]) == 0 || len(possible[false]) == 0
	if err != nil {
		require.True(t, errors.Is(err, ErrFull) && full || errors.Is(err, ErrInUse) && blocked, err.Error())
		return
	}
	require.False(t, full || blocked, "%v", got)
	require.Len(t, got, 2)
	for _, p := range got {
		require.Contains(t, possible[p.Addr().Is4()], p.Addr())
		for a, r := range m.table {
			if r.owner == id && a != p.Addr() && a.Is4() == p.Addr().Is4() {
				m.leave(r, now)
				r.owner = nobody
			}
		}
		r := m.table[p.Addr()]
		r.owner, r.used, r.inUse = id, true, true
	}
}

func (m *model) leave(r *row, now time.Time) {
	if r.inUse {
		r.inUse, r.until = false, now
	}
}

// each calls f for each row of a client.
func (m *model) each(id noise.PublicKey, f func(r *row)) {
	for _, r := range m.table {
		if r.owner == id {
			f(r)
		}
	}
}

// setFixed says that fixed addresses were set, and checks who has to move.
func (m *model) setFixed(t testing.TB, fixed map[noise.PublicKey][]netip.Addr, moved []noise.PublicKey) {
	for _, r := range m.table {
		r.fixed = nobody
	}
	has := make(map[noise.PublicKey]map[bool]netip.Addr)
	for id, list := range fixed {
		has[id] = make(map[bool]netip.Addr)
		for _, a := range list {
			m.table[a].fixed = id
			has[id][a.Is4()] = a
		}
	}
	want := make(map[noise.PublicKey]bool)
	for a, r := range m.table {
		own := has[r.owner][a.Is4()]
		wrong := r.fixed != nobody && r.fixed != r.owner || own.IsValid() && own != a
		if wrong && r.inUse {
			want[r.owner] = true
		} else if wrong {
			r.owner = nobody
		}
	}
	require.ElementsMatch(t, sortedKeys(want), moved)
}

// left says that a client has left. One that used what is somebody else's by now
// does not get it back.
func (m *model) left(id noise.PublicKey, now time.Time) {
	for a, r := range m.table {
		if r.owner == id && r.inUse {
			m.leave(r, now)
			if own := m.addrOf(id, a.Is4()); own != a {
				r.owner = nobody
			}
		}
	}
}

// Whatever clients do, the pool does what the model allows.
func TestPoolAgainstAModel(t *testing.T) {
	for seed := range soak.Pick(t, uint64(8), 24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playRandomly(t, seed) })
		})
	}
}

func playRandomly(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	const clients = 20
	const grace = 60 * time.Second
	cfg := Config{
		Addrs: [][]netip.Prefix{ // 13 IPv4 addresses for clients, or 5
			prefixes("10.8.0.1/28", "fd00:8::5/123"),
			prefixes("fd00:8::5/126", "10.8.0.6/29"),
		}[seed%2],
		State: filepath.Join(t.TempDir(), "leases"),
		Grace: grace,
	}
	m := newModel(grace, cfg.Addrs...)
	fixed := map[noise.PublicKey][]netip.Addr{}
	p, err := Open(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()

	reopen := func() {
		p, err = Open(cfg)
		require.NoError(t, err)
		moved, err := p.SetFixed(fixed)
		require.NoError(t, err)
		require.Empty(t, moved, "nobody is there")
	}
	for range 600 {
		id, now := key(random.IntN(clients)), time.Now()
		switch op := random.IntN(100); {
		case op < 45:
			got, err := p.Lease(id, now)
			m.join(t, id, now, got, err)
		case op < 75:
			p.Release(id, now)
			m.left(id, now)
		case op < 80:
			p.Forget(id, now)
			m.each(id, func(r *row) { m.leave(r, now); r.owner = nobody })
		case op < 94:
			time.Sleep(time.Duration(random.IntN(40)) * time.Second)
		case op < 96: // the server is restarted
			require.NoError(t, p.Close())
			for id := range clients {
				m.left(key(id), now)
			}
			time.Sleep(time.Duration(random.IntN(10)) * time.Second)
			reopen()
		case op < 97: // the server is killed
			time.Sleep(2 * saveEvery)
			kill(p)
			for id := range clients {
				m.left(key(id), time.Now())
			}
			reopen()
			for _, r := range m.table {
				r.until = time.Now()
			}
		default:
			fixed = randomFixed(random, m, clients)
			moved, err := p.SetFixed(fixed)
			require.NoError(t, err)
			m.setFixed(t, fixed, moved)
		}
	}

	// When all have left and the grace time has passed, others get all of it.
	for id := range clients {
		p.Release(key(id), time.Now())
	}
	_, err = p.SetFixed(nil)
	require.NoError(t, err)
	time.Sleep(grace)
	room := map[bool]int{}
	for a := range m.table {
		room[a.Is4()]++
	}
	most := min(room[true], room[false])
	had := map[netip.Addr]bool{}
	for n := range most {
		for _, a := range mustLease(t, p, 1000+n, time.Now()) {
			require.False(t, had[a.Addr()])
			had[a.Addr()] = true
		}
	}
	_, err = p.Lease(key(2000), time.Now())
	require.ErrorIs(t, err, ErrFull)
}

// randomFixed gives some clients fixed addresses.
func randomFixed(random *rand.Rand, m *model, clients int) map[noise.PublicKey][]netip.Addr {
	fixed := make(map[noise.PublicKey][]netip.Addr)
	has := make(map[string]bool)
	for a := range m.table {
		id := random.IntN(clients)
		if once := fmt.Sprint(id, a.Is4()); random.IntN(4) == 0 && !has[once] {
			has[once] = true
			fixed[key(id)] = append(fixed[key(id)], a)
		}
	}
	return fixed
}

// kill leaves a pool as a kill -9 does.
func kill(p *Pool) {
	close(p.store.closing)
	<-p.store.stopped
	p.store.file.Close()
}
