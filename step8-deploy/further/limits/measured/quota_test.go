package measured_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

type peer = status.Peer

// use has a host download so many bytes from web.
func (w *world) use(on *netlab.Host, bytes string) error {
	_, err := on.Try("curl", "-sS", "--max-time", "20", "-o", "/dev/null", "http://"+w.near.String()+"/file?bytes="+bytes)
	return err
}

func (w *world) quota(name string) *status.Quota {
	w.t.Helper()
	peers := w.report(w.Server, "server.sock").Peers
	if i := slices.IndexFunc(peers, func(p peer) bool { return p.Name == name }); i >= 0 {
		return peers[i].Quota
	}
	return nil
}

// A client whose quota is used up is cut off, is told so in a sentence, and refused with the
// same one, also by a server that was killed meanwhile. When it may use more, it comes back.
func TestQuotaCutsOff(t *testing.T) {
	w := newWorld(t)
	w.Web.ServeSite(t)
	alice := w.client("alice", w.Alice)
	w.client("bob", w.Bob)
	w.limit("alice", "-quota", "5MB/month")
	require.NoError(t, w.use(w.Alice, "1000000"))
	q := w.quota("alice")
	require.NotNil(t, q)
	require.EqualValues(t, 5e6, q.Bytes)
	require.Greater(t, q.Used, uint64(1_000_000))
	require.Less(t, q.Used, uint64(2_000_000))
	require.Nil(t, w.quota("bob"))

	require.Error(t, w.use(w.Alice, "20000000"))
	const why = "your quota of 5 MB for this month is used up; it begins anew on 1 "
	alice.WaitLog(t, why)
	netlab.Eventually(t, limit, "the client's status says why", func() bool {
		r := w.report(w.Alice, "alice.sock")
		return r.State != "up" && strings.Contains(r.Reason, why)
	})
	require.NoError(t, w.use(w.Bob, "10000000"))

	w.restart()
	alice.Interrupt()
	alice.Wait(t)
	again := w.Alice.Start(t, netlab.Program("stepvpn"), "client", w.path("alice.toml"))
	again.WaitLog(t, why)
	require.NotContains(t, again.Log(), "tunnel is up")

	w.limit("alice", "-quota", "50MB/month")
	again.Interrupt() // it would ask again by itself, but after 5 minutes
	again.Wait(t)
	w.Alice.Start(t, netlab.Program("stepvpn"), "client", w.path("alice.toml")).WaitLog(t, "tunnel is up")
	require.NoError(t, w.use(w.Alice, "1000000"))
	require.Greater(t, w.quota("alice").Used, uint64(5_900_000))
}

// A quota may slow down instead, and the client's status says so for as long as it lasts.
func TestQuotaSlowsDown(t *testing.T) {
	w := newWorld(t, "quota", "2MB/month", "quota_then", "slow 1Mbit/s")
	w.Web.ServeSite(t)
	alice := w.client("alice", w.Alice)
	require.NoError(t, w.use(w.Alice, "3000000"))
	const why = "you are slowed down to 1Mbit/s until it begins anew on 1 "
	alice.WaitLog(t, why)
	notes := func() string { return strings.Join(w.report(w.Alice, "alice.sock").Notes, "\n") }
	require.Contains(t, notes(), why)
	require.Equal(t, "up", w.report(w.Alice, "alice.sock").State)
	require.True(t, w.quota("alice").Over)
	require.Error(t, w.use(w.Alice, "20000000"), "20 MB in 20 s are 8 Mbit/s")
	w.limit("alice", "-quota", "none")
	netlab.Eventually(t, limit, "nothing is said any more", func() bool { return !strings.Contains(notes(), why) })
	require.NoError(t, w.use(w.Alice, "3000000"))
}

// A stock client of the WireGuard protocol is limited, and cut off, as ours is. It can't be told.
func TestStockClient(t *testing.T) {
	w := newWorld(t, "wireguard", true)
	w.Web.ServeSite(t)
	w.stepvpn("clients", "add", "phone", "-wireguard", "-registry", w.path("clients"),
		"-server", w.Server.V4.String()+":5555", "-out", w.path("phone.conf"))
	w.stock(w.Bob, w.path("phone.conf"))
	require.NoError(t, w.use(w.Bob, "100000"))
	w.limit("phone", "-down", "1Mbit/s", "-quota", "3MB/month")
	require.NoError(t, w.use(w.Bob, "500000"))
	require.NotZero(t, w.report(w.Server, "server.sock").Drops["over-limit"])
	w.limit("phone", "-down", "none")
	require.Error(t, w.use(w.Bob, "20000000"))
	w.server.WaitLog(t, "a quota is used up")
	w.server.WaitLog(t, "a client is cut off")
	require.Error(t, w.use(w.Bob, "1000"))
}
