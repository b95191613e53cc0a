package pathmtu

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
)

var (
	server4 = netip.MustParseAddrPort("203.0.113.10:5555")
	server6 = netip.MustParseAddrPort("[2001:db8:5::10]:5555")
)

// A network is a path with a server at its end.
type network struct {
	path   *Path
	server netip.AddrPort
	room   int // outside of the tunnel; 0: the server knows no probes
	loses  int // of each size, so many probes
	sent   map[int]int
	found  []int
	fails  error
	probe  func(content []byte) // if set, before each probe

	mtu  int   // of the client's session
	told []int // what the server was told
}

func (n *network) SetMTU(mtu int) { n.mtu = mtu }

// Control comes from the client, and from the server.
func (n *network) Control(kind byte, content []byte) error {
	if kind == kindFound {
		size, ok := parseFound(content)
		if !ok {
			panic("not a size")
		}
		n.told = append(n.told, int(size))
		return nil
	}
	return n.path.Control(kind, content)
}

// server is the network as the server's hub.Session.
type server struct{ *network }

func (s server) Control(kind byte, content []byte) { s.network.Control(kind, content) }

func (n *network) Probe(kind byte, content []byte) error {
	if n.probe != nil {
		n.probe(content)
	}
	size := len(content) + secure.ControlOverhead + headers(n.server)
	n.sent[size]++
	if size <= n.room && n.sent[size] > n.loses {
		Control(65535)(server{n}, kind, content)
	}
	return n.fails
}

func (n *network) config(server netip.AddrPort, computed int) Config {
	n.path, n.server, n.sent = New(), server, make(map[int]int)
	return Config{
		Server: server, Computed: computed, Session: n,
		Found: func(size int) { n.found = append(n.found, size) },
	}
}

// watch watches for a time, and returns what was found.
func (n *network) watch(t *testing.T, c Config, during time.Duration) []int {
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	n.path.Watch(ctx, c)
	return n.found
}

func TestFound(t *testing.T) {
	for name, c := range map[string]struct {
		server          netip.AddrPort
		computed        int
		room, loses     int
		found           int
		takes           time.Duration
		sentOfTheLonger int
	}{
		"as computed":              {server4, 1440, 1500, 0, 1440, 0, 1},
		"PPPoE":                    {server4, 1440, 1492, 0, 1432, 4 * time.Second, 4},
		"least of IPv6":            {server6, 1420, 1280, 0, 1200, 4 * time.Second, 4},
		"between two":              {server4, 1440, 1399, 0, 1320, 4 * time.Second, 4},
		"less than any candidate":  {server4, 1440, 500, 0, 0, 4 * time.Second, 4},
		"jumbo frames":             {server4, 8940, 9000, 0, 8940, 0, 1},
		"jumbo frames to the door": {server4, 8940, 1500, 0, 1440, 4 * time.Second, 4},
		"the kernel was lied to":   {server4, 516, 1500, 0, 1440, 0, 1},
		"losses":                   {server4, 1440, 1500, 3, 1440, 3 * time.Second, 4},
		"losses and little room":   {server4, 1440, 1400, 2, 1340, 4 * time.Second, 4},
		"more than a probe has":    {server4, 70000, 1500, 0, 1440, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{room: c.room, loses: c.loses}
				cfg := n.config(c.server, c.computed)
				begin := time.Now()
				size, ok, err := n.path.search(t.Context(), cfg)
				require.NoError(t, err)
				require.Equal(t, c.takes, time.Since(begin))
				require.Equal(t, c.found != 0, ok)
				if ok {
					require.Equal(t, c.found, size)
				}
				require.Equal(t, c.sentOfTheLonger, n.sent[sizesFor(cfg)[0]+headers(c.server)])
			})
		})
	}
}

// The search is repeated, and what it finds may be more than before. When nothing
// comes back at all, what is known stays.
func TestPathChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1400}
		cfg := n.config(server4, 1440)
		rooms := []int{1500, 0, 1280}
		found := cfg.Found
		cfg.Found = func(size int) {
			found(size)
			n.room, rooms = rooms[0], rooms[1:]
		}
		begin := time.Now()
		n.probe = func([]byte) {
			if time.Since(begin) > 25*time.Minute {
				n.room = 1280
			}
		}
		require.Equal(t, []int{1340, 1440, 1220}, n.watch(t, cfg, 32*time.Minute))
		require.Equal(t, n.found, n.told, "the server knows, too")
		require.Equal(t, 1220, n.mtu)
	})
}

// A server that knows no probes is taken to be where the kernel says.
func TestServerWithoutProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		require.Equal(t, []int{1400, 1400}, n.watch(t, n.config(server4, 1400), 11*time.Minute))
	})
}

// Nothing counts that does not answer a probe of this search.
func TestOtherAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1280}
		cfg := n.config(server4, 1440)
		n.probe = func(content []byte) {
			p, ok := parseProbe(content)
			require.True(t, ok)
			for _, a := range []answer{
				{p.id + 1, 1440 - secure.ControlOverhead}, {p.id, 1441 - secure.ControlOverhead}, {p.id, 65535},
			} {
				n.path.Control(kindAnswer, a.append(nil))
			}
		}
		size, _, err := n.path.search(t.Context(), cfg)
		require.NoError(t, err)
		require.LessOrEqual(t, size, 1220)
		for range 1000 {
			n.path.Control(kindAnswer, answer{}.append(nil)) // does not block
		}
	})
}

// When the session is over, so is the search, and nothing is found.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1500, fails: errors.New("closed")}
		require.Empty(t, n.watch(t, n.config(server4, 1440), time.Hour))
		n = network{room: 1280}
		require.Empty(t, n.watch(t, n.config(server4, 1440), 1500*time.Millisecond))
	})
}
