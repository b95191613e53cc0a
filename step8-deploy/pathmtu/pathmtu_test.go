package pathmtu

import (
	"context"
	"errors"
	"net/netip"
	"slices"
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
	room   int  // outside of the tunnel; 0: the server knows no probes
	back   int  // the same for the way back, if it is not 0
	old    bool // the server is of a version that gives short answers only
	loses  int  // how many probes of each size there were
	sent   map[int]int
	found  []int
	fails  error
	probe  func(content []byte) // called before each probe, if set

	mtu  int              // the client's session
	told []int            // the messages that the server has received
	keys func() time.Time // since when the current keys are in use
}

func (n *network) Status() secure.Status { return secure.Status{Since: n.keys()} }

func (n *network) SetMTU(mtu int) { n.mtu = mtu }

// Control receives the client's messages.
func (n *network) Control(kind byte, content []byte) error {
	if !n.serve(kind, content) {
		panic("the server does not know it")
	}
	return nil
}

// serve makes the server handle a message.
func (n *network) serve(kind byte, content []byte) bool {
	return Control(1420, func(client []netip.Addr, size int) { n.told = append(n.told, size) })(server{n}, kind, content)
}

// server is the network as the server sees it, a hub.Session.
type server struct{ *network }

func (s server) SetMTU(int)          {}
func (s server) Addrs() []netip.Addr { return nil }

func (s server) Control(kind byte, content []byte) {
	if len(content) != answerLen {
		panic("the answer is padded")
	}
	s.path.Control(kind, content)
}

// Probe sends the server's answers.
func (s server) Probe(kind byte, content []byte) {
	if s.back == 0 || len(content)+secure.ControlOverhead+headers(s.network.server) <= s.back {
		s.path.Control(kind, content)
	}
}

func (n *network) Probe(kind byte, content []byte) error {
	if n.probe != nil {
		n.probe(content)
	}
	size := len(content) + secure.ControlOverhead + headers(n.server)
	n.sent[size]++
	if size <= n.room && n.sent[size] > n.loses {
		if n.old {
			content[4] = 0 // an old server does not look at that
		}
		n.serve(kind, content)
	}
	return n.fails
}

func (n *network) config(server netip.AddrPort, computed int) Config {
	n.path, n.server, n.sent = New(), server, make(map[int]int)
	begin := time.Now()
	n.keys = func() time.Time { return begin }
	return Config{
		Server: server, Computed: computed, Session: n,
		Found: func(size int) { n.found = append(n.found, size) },
	}
}

// watch watches for a time, and returns the sizes that were found.
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
		back            int
		old             bool
		found           int
		takes           time.Duration
		sentOfTheLonger int
	}{
		"as computed":              {server4, 1440, 1500, 0, 0, false, 1440, 0, 1},
		"PPPoE":                    {server4, 1440, 1492, 0, 0, false, 1432, 4 * time.Second, 4},
		"least of IPv6":            {server6, 1420, 1280, 0, 0, false, 1200, 4 * time.Second, 4},
		"between two":              {server4, 1440, 1399, 0, 0, false, 1320, 4 * time.Second, 4},
		"less than any candidate":  {server4, 1440, 500, 0, 0, false, 0, 4 * time.Second, 4},
		"jumbo frames":             {server4, 8940, 9000, 0, 0, false, 8940, 0, 1},
		"jumbo frames to the door": {server4, 8940, 1500, 0, 0, false, 1440, 4 * time.Second, 4},
		"the kernel was lied to":   {server4, 516, 1500, 0, 0, false, 1440, 0, 1},
		"losses":                   {server4, 1440, 1500, 3, 0, false, 1440, 3 * time.Second, 4},
		"losses and little room":   {server4, 1440, 1400, 2, 0, false, 1340, 4 * time.Second, 4},
		"less on the way back":     {server4, 1440, 1500, 0, 1400, false, 1340, 4 * time.Second, 4},
		"less on the way there":    {server4, 1440, 1400, 0, 1500, false, 1340, 4 * time.Second, 4},
		"an older server":          {server4, 1440, 1400, 0, 1300, true, 1340, 4 * time.Second, 4},
		"more than a probe has":    {server4, 70000, 1500, 0, 0, false, 1440, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{room: c.room, loses: c.loses, back: c.back, old: c.old}
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

// The search is repeated, and may find a larger size than before. When nothing comes back at
// all, the size stays.
func TestPathChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1400}
		cfg := n.config(server4, 1440)
		rooms := []int{1500, 0, 1280, 1280}
		found := cfg.Found
		cfg.Found = func(size int) {
			found(size)
			n.room, rooms = rooms[0], rooms[1:]
		}
		require.Equal(t, []int{1340, 1440, 1440, 1220}, n.watch(t, cfg, 32*time.Minute))
		require.Equal(t, slices.Compact(slices.Clone(n.found)), slices.Compact(n.told), "the server knows it as well")
		require.Equal(t, 1220, n.mtu)
	})
}

// For a server that does not know probes, the kernel's MTU is used.
func TestServerWithoutProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		require.Equal(t, []int{1400, 1400}, n.watch(t, n.config(server4, 1400), 11*time.Minute))
	})
}

// Only answers to probes of the current search count.
func TestOtherAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1280}
		cfg := n.config(server4, 1440)
		n.probe = func(content []byte) {
			p, ok := parseProbe(content)
			require.True(t, ok)
			for _, a := range []answer{
				{p.id + 1, 1440 - secure.ControlOverhead, true}, {p.id, 1441 - secure.ControlOverhead, false}, {p.id, 65535, true},
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

// The search ends with the session, and finds nothing then.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1500, fails: errors.New("closed")}
		require.Empty(t, n.watch(t, n.config(server4, 1440), time.Hour))
		n = network{room: 1280}
		require.Empty(t, n.watch(t, n.config(server4, 1440), 1500*time.Millisecond))
	})
}

// The size is sent again when there are new keys, and several times each, as a message may get
// lost. A size that is set by hand is sent, too, and not searched for.
func TestToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{room: 1280}
		cfg := n.config(server4, 1340)
		cfg.Fixed = true
		begin := time.Now()
		n.keys = func() time.Time {
			switch at := time.Since(begin); {
			case at < time.Minute:
				return begin
			case at < 2*time.Minute:
				return time.Time{} // there is no session
			}
			return begin.Add(2 * time.Minute)
		}
		require.Equal(t, []int{1340}, n.watch(t, cfg, 5*time.Minute))
		require.Equal(t, slices.Repeat([]int{1340}, 2*repeats), n.told)
		require.Empty(t, n.sent)
		require.Equal(t, 5*time.Minute, time.Since(begin))
	})
}

// Bounds pass on only the latest bound, and not too often.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2")
		var handed [][]Bound
		bounds := NewBounds(func(list []Bound) error {
			slices.SortFunc(list, func(x, y Bound) int { return x.Client.Compare(y.Client) })
			handed = append(handed, list)
			return errors.New("the log has it")
		})
		for size := range 1000 {
			bounds.Set([]netip.Addr{a, b}, size)
			time.Sleep(handInterval / 100)
		}
		synctest.Wait()
		time.Sleep(2 * handInterval)
		require.LessOrEqual(t, len(handed), 1000/100+2)
		require.Equal(t, []Bound{{a, 999}, {b, 999}}, handed[len(handed)-1])
		n := len(handed)
		bounds.Set([]netip.Addr{a}, 1300)
		synctest.Wait()
		require.Equal(t, [][]Bound{{{a, 1300}}}, handed[n:])
		require.NoError(t, bounds.Close())
		bounds.Set([]netip.Addr{a}, 1400)
		synctest.Wait()
		require.Len(t, handed, n+1)
	})
}
