package admission

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/pool"
)

// forgotten records what is to be forgotten.
type forgotten []netip.Addr

func (f *forgotten) add(addrs []netip.Addr) error { *f = append(*f, addrs...); return nil }

// Connections of a client that comes back in time, to the same addresses, are kept.
func TestDeparted(t *testing.T) {
	a4, a6, b4 := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2"), netip.MustParseAddr("10.8.0.3")
	prefixes := func(addrs ...netip.Addr) (list []netip.Prefix) {
		for _, a := range addrs {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
		return list
	}
	const grace = pool.DefaultGrace
	alice, bob := key(), key()
	for name, tt := range map[string]struct {
		do   func(d *departed)
		want []netip.Addr
	}{
		"she comes back in time": {func(d *departed) {
			time.Sleep(grace/2 - time.Second)
			d.lease(alice, prefixes(a4, a6))
			time.Sleep(10 * grace)
		}, nil},
		"she comes back too late": {func(d *departed) { time.Sleep(grace - time.Second) }, []netip.Addr{a4, a6}},
		"she comes back, and leaves again": {func(d *departed) {
			time.Sleep(grace / 3)
			d.lease(alice, prefixes(a4, a6))
			d.add(alice, []netip.Addr{a4, a6})
			time.Sleep(grace / 3)
		}, nil},
		"she comes back without IPv6": {func(d *departed) {
			d.lease(alice, prefixes(a4))
			time.Sleep(grace)
		}, []netip.Addr{a6}},
		"somebody else gets an address": {func(d *departed) { d.lease(bob, prefixes(a4)) }, []netip.Addr{a4}},
		"somebody else leaves later": {func(d *departed) {
			time.Sleep(grace / 4)
			d.add(bob, []netip.Addr{b4})
			time.Sleep(grace / 3)
		}, []netip.Addr{a4, a6}},
		"she must not come back":  {func(d *departed) { d.end(alice, []netip.Addr{a4, a6}) }, []netip.Addr{a4, a6}},
		"she is revoked":          {func(d *departed) { d.endAll(func(k noise.PublicKey) bool { return k == alice }) }, []netip.Addr{a4, a6}},
		"somebody is revoked":     {func(d *departed) { d.endAll(func(k noise.PublicKey) bool { return k == bob }) }, nil},
		"the server is restarted": {func(d *departed) { d.close(); time.Sleep(10 * grace) }, nil},
		"she leaves it late":      {func(d *departed) { d.close(); d.add(alice, []netip.Addr{a4}); time.Sleep(10 * grace) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got forgotten
				d := newDeparted(got.add, grace)
				defer d.close()
				d.add(alice, []netip.Addr{a4, a6})
				tt.do(d)
				synctest.Wait()
				d.mu.Lock()
				defer d.mu.Unlock()
				require.ElementsMatch(t, tt.want, got)
			})
		})
	}
}

// A client that is unknown or expired when it leaves, or later, is forgotten at once, and so
// are the clients of the server before.
func TestBannedAreForgottenAtOnce(t *testing.T) {
	alice, bob, carol := key(), key(), key()
	o := newOffice(t, "10.8.0.1/29", time.Hour, line("alice", alice), line("bob", bob), line("carol", carol, "expires=2020-01-01"))
	addr := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	o.Left([]hub.Gone{{Key: alice, Addrs: addr("10.8.0.2")}, {Key: bob, Addrs: addr("10.8.0.3")}})
	require.Empty(t, o.forgotten)
	o.Left([]hub.Gone{{Key: carol, Addrs: addr("10.8.0.4")}})
	require.Equal(t, addr("10.8.0.4"), o.forgotten)
	o.Left([]hub.Gone{{Key: key(), Addrs: addr("10.8.0.5")}})
	require.Equal(t, append(addr("10.8.0.4"), addr("10.8.0.5")...), o.forgotten)

	o.run()
	o.write(line("alice", alice))
	require.Eventually(t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.forgotten) == 3 && o.forgotten[2] == addr("10.8.0.3")[0]
	}, time.Minute, 5*time.Millisecond, "bob is revoked")
}

// The next server knows who was connected, and gives no address with connections of another.
func TestDepartedOfTheServerBefore(t *testing.T) {
	dir := t.TempDir()
	registry := filepath.Join(dir, "clients")
	alice, bob := key(), key()
	write := func(lines string) { require.NoError(t, os.WriteFile(registry, []byte(lines), 0o600)) }
	write(line("alice", alice) + "\n" + line("bob", bob) + "\n")
	var got forgotten
	open := func() *Controller {
		d, err := Open(Config{Registry: registry, Forget: got.add,
			Pool: pool.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}, State: filepath.Join(dir, "leases"), Grace: time.Hour}})
		require.NoError(t, err)
		return d
	}
	first := open()
	leases, err := first.Lease(alice, time.Now())
	require.NoError(t, err)
	require.NoError(t, first.Close())

	second := open()
	_, err = second.Lease(alice, time.Now())
	require.NoError(t, err)
	require.NoError(t, second.Close())
	require.Empty(t, got, "she is back")

	write(line("alice", alice) + "\n" + line("bob", bob, "addr="+leases[0].Addr().String()) + "\n")
	third := open()
	_, err = third.Lease(bob, time.Now())
	require.NoError(t, err)
	require.NoError(t, third.Close())
	require.Equal(t, forgotten{leases[0].Addr()}, got, "now her address is his")
}
