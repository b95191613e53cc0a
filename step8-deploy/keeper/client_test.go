package keeper

import (
	"encoding/json"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/takeover"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// with returns a parser of the argument of a request.
func with(v any) func(any) error {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return func(to any) error { return json.Unmarshal(text, to) }
}

// client returns a keeper whose settings name a server, and which changes nothing on the host.
func client(t *testing.T, server netip.AddrPort) *Client {
	cfg := &config.Client{Device: "vpn0", Transport: "udp", State: t.TempDir(), Servers: []config.Endpoint{{Host: server.Addr().String(), Port: server.Port()}}}
	return &Client{cfg: cfg, host: takeover.New(cfg, new(names.Local)), status: -1, metrics: -1, attempts: make(map[uint32]*attempt)}
}

// If an attempt is ended while its socket is being made, no policy rule stays.
func TestAttemptThatEndsEarly(t *testing.T) {
	lab := netlab.New(t)
	server := netip.MustParseAddrPort("203.0.113.10:5555")
	k := client(t, server)
	rules := func() string { return lab.Alice.Run(t, "ip", "rule", "show", "priority", "22499") }
	lab.Alice.Do(func() {
		r, err := k.dialOne(t.Context(), with(dialRequest{1, "udp", server}))
		require.NoError(t, err)
		privsep.CloseAll(r.FDs)
		require.Contains(t, rules(), "203.0.113.10", "the detector sees it")
		_, err = k.done(with(1))
		require.NoError(t, err)
		require.Empty(t, rules())
	})
	for id := range uint32(100) {
		var both sync.WaitGroup
		both.Go(func() {
			lab.Alice.Do(func() {
				r, _ := k.dialOne(t.Context(), with(dialRequest{id, "udp", server}))
				privsep.CloseAll(r.FDs)
			})
		})
		both.Go(func() { lab.Alice.Do(func() { k.done(with(id)) }) })
		both.Wait()
		lab.Alice.Do(func() { k.done(with(id)) })
	}
	require.Empty(t, rules())
}

// TestEchoSocketStaysInTunnel shows why.
func TestEchoSocketHasTheMark(t *testing.T) {
	lab := netlab.New(t)
	k := client(t, netip.MustParseAddrPort("203.0.113.10:5555"))
	lab.Alice.Do(func() {
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24")}})
		require.NoError(t, err)
		defer dev.Close()
		r, err := k.echo(with("10.8.0.1"))
		require.NoError(t, err)
		defer privsep.CloseAll(r.FDs)
		mark, err := unix.GetsockoptInt(r.FDs[0], unix.SOL_SOCKET, unix.SO_MARK)
		require.NoError(t, err)
		require.Equal(t, takeover.TiedMark, mark)
	})
}
