package secure

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

func TestConnect(t *testing.T) {
	client, server := config(1), config(1)
	client.Payload, server.Payload = []byte("from the client"), []byte("from the server")
	var got []string
	onPayload := func(p []byte) error { got = append(got, string(p)); return nil }
	client.OnPayload, server.OnPayload = onPayload, onPayload
	s := simulate(t, client, server)
	require.False(t, s.write(s.client, ipPacket("too early")))
	s.connect()

	require.Equal(t, []string{"from the client", "from the server"}, got)
	require.Equal(t, serverAddr, s.client.Status().Peer)
	require.Equal(t, aliceAddr, s.server.Status().Peer)
	require.Len(t, s.client.sent, 2, "an initiation, a keepalive")
	require.Len(t, s.server.sent, 2, "a response, a keepalive")

	require.True(t, s.write(s.client, ipPacket("to the server")))
	require.True(t, s.write(s.server, ipPacket("to the client")))
	s.run(time.Second)
	require.Equal(t, [][]byte{ipPacket("to the server")}, s.server.inside)
	require.Equal(t, [][]byte{ipPacket("to the client")}, s.client.inside)
	require.Equal(t, "none", client.Drops.String())
	require.Equal(t, "none", server.Drops.String())
}

// At 30 % loss, with doubling and changes of order, the two connect, and keep
// a session for an hour of rekeys. What arrives is what was sent, once.
func TestBadNetwork(t *testing.T) {
	for seed := range uint64(5) {
		s := simulate(t, config(1), config(1))
		s.fate = badNetwork(seed, 0.3)
		s.client.cfg.Tries = 1000
		s.connect()

		sent, handshakes := 0, s.server.Status().Since
		rekeys := 0
		for i := range 3600 {
			for _, n := range []*node{s.client, s.server} {
				if s.write(n, ipPacket(fmt.Sprint(i))) {
					sent++
				}
			}
			s.run(time.Second)
			if since := s.server.Status().Since; since != handshakes {
				rekeys, handshakes = rekeys+1, since
			}
		}
		// A rekey has 60 s. All its tries fail once in some hundred times.
		require.InDelta(t, 7200, sent, 72, "there are hardly ever no keys to send with")
		require.GreaterOrEqual(t, rekeys, 25)
		for _, n := range []*node{s.client, s.server} {
			once := make(map[string]bool)
			for _, p := range n.inside {
				require.False(t, once[string(p)], "a packet came out twice")
				once[string(p)] = true
				require.Equal(t, byte(0x45), p[0])
			}
			require.InDelta(t, 3600*0.7, len(once), 200)
		}
		require.Zero(t, s.client.cfg.Drops.Count(BadTag))
		require.Zero(t, s.server.cfg.Drops.Count(BadTag))
	}
}

// Rekeys lose no packet on a network that loses none: whatever the latency, and
// even if handshakes get lost and overtake each other. No counter is used twice.
func TestRekeyLosesNothing(t *testing.T) {
	isData := func(m []byte) bool { return messageType(m) == typeData }
	for name, c := range map[string]struct {
		latency      time.Duration
		rekeyPackets uint64
		fate         func(r *rand.Rand, m []byte) []time.Duration
	}{
		"by time":       {10 * time.Millisecond, rekeyAfterPackets, nil},
		"by count":      {10 * time.Millisecond, 500, nil},
		"long way":      {700 * time.Millisecond, 5000, nil},
		"no way at all": {0, 500, nil},
		"bad handshakes": {10 * time.Millisecond, 500, func(r *rand.Rand, m []byte) []time.Duration {
			if isData(m) {
				return []time.Duration{10 * time.Millisecond}
			}
			if r.Float64() < 0.5 {
				return nil
			}
			return []time.Duration{time.Duration(r.Int64N(int64(2 * time.Second)))}
		}},
		"order": {10 * time.Millisecond, 500, func(r *rand.Rand, m []byte) []time.Duration {
			return []time.Duration{time.Duration(r.Int64N(int64(100 * time.Millisecond)))}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(1)
			cfg.limits = defaultLimits
			cfg.limits.rekeyPackets = c.rekeyPackets
			s := simulate(t, cfg, cfg)
			s.latency = c.latency
			s.client.cfg.Tries = 1000
			s.connect()
			if c.fate != nil {
				r := rand.New(rand.NewPCG(1, 0))
				s.fate = func(_ *node, m []byte) []time.Duration { return c.fate(r, m) }
			}
			const packets = 15000 // 5 minutes
			for i := range packets {
				require.True(t, s.write(s.client, ipPacket(fmt.Sprint(i))))
				require.True(t, s.write(s.server, ipPacket(fmt.Sprint(i))))
				s.run(20 * time.Millisecond)
			}
			s.run(2 * time.Second)

			rekeys := count(s.server.sent, typeResponse)
			require.GreaterOrEqual(t, rekeys, 3)
			t.Logf("%d handshakes were answered", rekeys)
			for _, n := range []*node{s.client, s.server} {
				require.Len(t, n.inside, packets)
				used := make(map[string]bool) // index and counter
				for _, m := range n.sent {
					if isData(m) {
						require.False(t, used[string(m[4:dataHeader])], "a counter was used twice")
						used[string(m[4:dataHeader])] = true
					}
				}
			}
			require.Zero(t, cfg.Drops.Count(BadTag)+cfg.Drops.Count(Replayed)+cfg.Drops.Count(NoSession))
		})
	}
}

// The client asks for new keys after 120 s, though nothing is sent.
func TestRekeyByTime(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	first := *s.client.keys.Load()
	s.run(rekeyAfterTime - time.Second)
	require.Equal(t, 1, count(s.client.sent, typeInitiation))
	s.run(2 * time.Second)
	require.Equal(t, 2, count(s.client.sent, typeInitiation))
	second := *s.client.keys.Load()
	require.NotSame(t, first.current, second.current)
	require.Same(t, first.current, second.previous)

	s.run(keepPrevious)
	require.Nil(t, s.client.keys.Load().previous, "old keys are dropped")
	require.Nil(t, s.server.keys.Load().previous, "old keys are dropped")
	require.Same(t, second.current, s.client.keys.Load().current)
}

// Without new keys the old ones end after 180 s, on both sides, to the second.
func TestExpiry(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.fate = func(*node, []byte) []time.Duration { return nil } // the network is gone
	m := s.client.seal(ipPacket("late"))
	s.run(rejectAfterTime - time.Second)
	require.True(t, s.write(s.client, ipPacket("x")))
	require.True(t, s.write(s.server, ipPacket("x")))

	// Even if no timer fires, the keys are not used.
	clientWake, serverWake := s.client.wakeAt, s.server.wakeAt
	s.client.wakeAt, s.server.wakeAt = time.Time{}, time.Time{}
	s.run(time.Second)
	require.False(t, s.write(s.client, ipPacket("x")))
	require.False(t, s.write(s.server, ipPacket("x")))
	s.deliver(s.server, m, aliceAddr)
	require.Empty(t, s.server.inside)
	require.EqualValues(t, 1, s.server.cfg.Drops.Count(UnknownIndex))

	// And when the timer fires, they are gone.
	s.client.wakeAt, s.server.wakeAt = clientWake, serverWake
	s.run(time.Second)
	require.Equal(t, keyring{}, *s.client.keys.Load())
	require.Equal(t, keyring{}, *s.server.keys.Load())
	require.Equal(t, Status{Lost: true}, s.client.Status())

	// The client still tries, and comes back.
	s.fate = nil
	s.run(maxRetry * 2)
	require.False(t, s.client.Status().Since.IsZero())
	require.False(t, s.client.Status().Lost)
	require.NotEqual(t, Status{}, s.server.Status())
}

// A client that wakes up late, after all its keys have expired, starts anew.
func TestWakeAfterSleep(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.now = s.now.Add(time.Hour)
	s.run(time.Second)
	s.connect()
	require.Equal(t, 2, count(s.client.sent, typeInitiation))
}

// The server does not use new keys, or move the peer's address, before a packet
// has arrived under them.
func TestKeyConfirmation(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	old := s.server.keys.Load().current

	// A new handshake from elsewhere, whose last message does not arrive.
	s.client.addr = bobAddr
	s.fate = func(from *node, m []byte) []time.Duration {
		if from == s.client && messageType(m) == typeData {
			return nil
		}
		return []time.Duration{s.latency}
	}
	s.run(rekeyAfterTime)
	keys := s.server.keys.Load()
	require.NotNil(t, keys.next)
	require.Same(t, old, keys.current)
	require.Equal(t, aliceAddr, s.server.Status().Peer)
	require.Equal(t, old.local, s.client.keys.Load().current.remote, "nor does the client")
}

// Until a packet arrives under new keys, nothing is sent under them: the response may be
// lost, and then the client doesn't have them.
func TestNewKeysWait(t *testing.T) {
	const early = "new keys are in use before a packet has come under them"
	now := time.Now()
	o, cfg := newSite(t)
	p := o.peer()
	accept := func() (c *node, response []byte) {
		c, m := ask(t, cfg, now)
		q, ok := o.Read(m)
		require.True(t, ok)
		response, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		return c, response
	}
	c, response := accept()
	keys, _ := p.Sending(now)
	require.Nil(t, keys.keypair, early)
	o.open(c.open(response, serverAddr, now).Reply, now)

	accept() // its response is lost
	keys, to := p.Sending(now)
	require.Equal(t, aliceAddr, to)
	require.Equal(t, Packet, c.open(keys.seal(ipPacket("x")), serverAddr, now).Kind, early)
}

// Packets that were on the way when the keys changed are opened, for a while.
func TestOldKeysStay(t *testing.T) {
	now := time.Now()
	o, cfg := newSite(t)
	p := o.peer()
	handshake := func(confirm bool) *node {
		c, m := ask(t, cfg, now)
		q, ok := o.Read(m)
		require.True(t, ok)
		response, err := q.Accept(p, nil, now)
		require.NoError(t, err)
		if first := c.open(response, serverAddr, now).Reply; confirm {
			c.open(o.open(first, now).Reply, serverAddr, now)
		}
		return c
	}
	c := handshake(true)
	handshake(true)
	require.Equal(t, Packet, o.open(c.seal(ipPacket("1")), now).Kind, "a packet under the previous keys is lost")
	handshake(false)
	require.Equal(t, Packet, o.open(c.seal(ipPacket("2")), now).Kind, "the previous keys were dropped when another handshake began")
	now = now.Add(keepPrevious)
	p.Tick(now)
	require.Equal(t, None, o.open(c.seal(ipPacket("3")), now).Kind, "the previous keys are kept for ever")
}

// Counters begin anew with each handshake. The peer's address is followed after it, too.
func TestRoamingAfterRekey(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	for range 100 {
		require.True(t, s.write(s.client, ipPacket("x")))
	}
	old := s.client.keys.Load().current
	s.run(rekeyAfterTime + time.Second)
	require.NotSame(t, old, s.client.keys.Load().current)
	require.Equal(t, aliceAddr, s.server.Status().Peer)
	s.client.addr = bobAddr
	require.True(t, s.write(s.client, ipPacket("x")))
	s.run(time.Second)
	require.Equal(t, bobAddr, s.server.Status().Peer)
}

// The server's address of the peer follows the newest good packet, and nothing
// else: no forged one, no replay, no packet that was overtaken.
func TestRoaming(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	seal := func() []byte {
		return s.client.seal(ipPacket("x"))
	}
	peer := func() any { return s.server.Status().Peer }
	first, second, third := seal(), seal(), seal()

	forged := bytes.Clone(third)
	forged[dataHeader] ^= 1
	s.deliver(s.server, forged, bobAddr)
	require.Equal(t, aliceAddr, peer(), "forged")

	s.deliver(s.server, second, bobAddr)
	require.Equal(t, bobAddr, peer(), "good and new")
	s.deliver(s.server, first, aliceAddr)
	require.Equal(t, bobAddr, peer(), "good, but overtaken")
	s.deliver(s.server, second, aliceAddr)
	require.Equal(t, bobAddr, peer(), "a replay")
	s.deliver(s.server, third, aliceAddr)
	require.Equal(t, aliceAddr, peer(), "good and new")

	// Packets under the previous keys say nothing about now.
	old := s.client.keys.Load().current
	s.run(rekeyAfterTime + time.Second)
	require.NotSame(t, old, s.client.keys.Load().current)
	m := Keys{keypair: old}.seal(ipPacket("y"))
	s.server.inside = nil
	s.deliver(s.server, m, bobAddr)
	require.Len(t, s.server.inside, 1)
	require.Equal(t, aliceAddr, peer(), "under the previous keys")
}

// A peer whose address changes with each packet is followed, and does not fill
// the log.
func TestRoamingIsLoggedSometimes(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	var log bytes.Buffer
	s.server.log = slog.New(slog.NewTextHandler(&log, nil))
	for i := range 100 {
		s.client.addr = netip.AddrPortFrom(aliceAddr.Addr(), uint16(10000+i))
		require.True(t, s.write(s.client, ipPacket("x")))
		s.run(50 * time.Millisecond)
		require.Equal(t, s.client.addr, s.server.Status().Peer)
	}
	require.Equal(t, 1, strings.Count(log.String(), "address has changed"))
}

// Nobody gets an answer without the key, and nothing changes.
func TestNoAnswer(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	before := *s.server.keys.Load()
	answered := len(s.server.sent)
	initiation := s.client.sent[0]

	// Another key.
	other := s.node(config(2), true, bobAddr)
	m, _, err := other.Tick(s.now)
	require.NoError(t, err)
	s.deliver(s.server, m, bobAddr)
	require.EqualValues(t, 1, s.server.cfg.Drops.Count(BadTag))

	// A replay.
	s.deliver(s.server, initiation, bobAddr)
	require.EqualValues(t, 1, s.server.cfg.Drops.Count(Replayed))

	// Every bit of an initiation changed. The index that it names is free to choose.
	fresh := s.node(config(1), true, bobAddr)
	m, _, err = fresh.Tick(s.now)
	require.NoError(t, err)
	for i := range 8 * len(m) {
		if 4 <= i/8 && i/8 < initiationHeader {
			continue
		}
		changed := bytes.Clone(m)
		changed[i/8] ^= 1 << (i % 8)
		s.deliver(s.server, changed, bobAddr)
	}
	// Garbage.
	for n := range 2000 {
		garbage := make([]byte, n)
		for i := range garbage {
			garbage[i] = byte(rand.Uint32())
		}
		if n >= 4 {
			copy(garbage, []byte{byte(n % 5), 0, 0, 0})
		}
		s.deliver(s.server, garbage, bobAddr)
	}
	require.Len(t, s.server.sent, answered, "nothing was answered")
	require.Equal(t, before, *s.server.keys.Load())
	require.Equal(t, aliceAddr, s.server.Status().Peer)

	s.deliver(s.server, m, bobAddr)
	require.Len(t, s.server.sent, answered+1, "the detector: a good one is answered")
}

// An attacker who has recorded initiations can do nothing with them: only the newest counts, and
// the client's next one is newer. So its keys are not replaced by others, and it gets
// new ones in time, even if a recorded one follows each answer to it.
func TestReplayedInitiations(t *testing.T) {
	s := simulate(t, config(1), config(1))
	var recorded [][]byte
	recorder := s.node(config(1), true, bobAddr)
	for range 2000 {
		m, err := recorder.initiator.initiate(recorder.table.reserve(recorder.Peer), s.now)
		require.NoError(t, err)
		recorder.table.remove(recorder.initiator.reserved)
		recorded = append(recorded, m)
		s.now = s.now.Add(time.Millisecond)
	}
	// The detector: before the client has asked, old ones are answered; in vain.
	s.deliver(s.server, recorded[0], bobAddr)
	require.Equal(t, 1, count(s.server.sent, typeResponse))
	require.Equal(t, Status{}, s.server.Status())

	s.connect()
	next, replaying := 0, false
	s.fate = func(from *node, m []byte) []time.Duration {
		if from == s.server && messageType(m) == typeResponse && !replaying {
			replaying = true // what is sent on account of it is none of the client's
			s.deliver(s.server, recorded[next%len(recorded)], bobAddr)
			replaying = false
			next++
		}
		return []time.Duration{s.latency}
	}
	rekeys, since := 0, s.server.Status().Since
	for range 400 {
		require.True(t, s.write(s.client, ipPacket("x")))
		s.run(time.Second)
		if now := s.server.Status().Since; now != since {
			rekeys, since = rekeys+1, now
		}
	}
	require.Equal(t, 3, rekeys)
	require.GreaterOrEqual(t, next, 3)
	require.Len(t, s.server.inside, 400)
	require.Equal(t, aliceAddr, s.server.Status().Peer)
	require.Positive(t, s.server.cfg.Drops.Count(Replayed))
}

// The same initiation again is not answered at all, and older ones are at a bounded
// rate, with nothing that a stranger can read, or that makes a session.
func TestAnswersToOldInitiationsAreLimited(t *testing.T) {
	s := simulate(t, config(1), config(1))
	m, err := s.client.initiator.initiate(s.client.table.reserve(s.client.Peer), s.now)
	require.NoError(t, err)
	s.now = s.now.Add(time.Second)
	s.connect()
	answered := len(s.server.sent)
	before := *s.server.keys.Load()
	for range 3 * answersPerSecond {
		s.deliver(s.server, s.client.sent[0], bobAddr)
	}
	require.Len(t, s.server.sent, answered, "a copy of the newest")
	for range 3 * answersPerSecond {
		s.deliver(s.server, m, bobAddr)
	}
	require.Len(t, s.server.sent, answered+answersPerSecond)
	s.now = s.now.Add(time.Second)
	for range 3 * answersPerSecond {
		s.deliver(s.server, m, bobAddr)
	}
	require.Len(t, s.server.sent, answered+2*answersPerSecond)
	require.Equal(t, before, *s.server.keys.Load())
	require.EqualValues(t, 9*answersPerSecond, s.server.cfg.Drops.Count(Replayed))
}

// A client that has started anew, and whose clock has gone back, gets in with its
// second try, and keeps getting new keys.
func TestClockGoesBack(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.run(time.Second)
	back := s.node(config(1), true, bobAddr)
	back.initiator.time = 0
	m, err := back.initiator.initiate(back.table.reserve(back.Peer), s.now.Add(-24*time.Hour))
	require.NoError(t, err)
	in := s.server.open(m, bobAddr, s.now)
	require.NotNil(t, in.Reply)
	require.Nil(t, back.open(in.Reply, serverAddr, s.now).Reply)
	require.Nil(t, back.keys.Load().next, "that was no session")
	m, err = back.initiator.initiate(back.table.reserve(back.Peer), s.now.Add(-24*time.Hour))
	require.NoError(t, err)
	first := back.open(s.server.open(m, bobAddr, s.now).Reply, serverAddr, s.now).Reply
	require.NotNil(t, first)
	s.server.open(first, bobAddr, s.now)
	require.Equal(t, bobAddr, s.server.Status().Peer)
}

// One who has the key and names the last time there is keeps others out for a while, not
// for good.
func TestLastTime(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.client.cfg.Tries = 1000
	mallory := s.node(config(1), true, bobAddr)
	mallory.initiator.time = math.MaxUint64 - 1
	m, err := mallory.initiator.initiate(mallory.table.reserve(mallory.Peer), s.now)
	require.NoError(t, err)
	require.NotNil(t, s.server.open(m, bobAddr, s.now).Reply)
	s.run(time.Minute)
	require.Equal(t, Status{}, s.client.Status())
	s.runUntil(forgetAfter, func() bool { return s.client.Status() != Status{} })
}

// A client may close at any moment of a rekey, too: the server hears it, whichever keys
// it seals under by then.
func TestCloseWhileRekeying(t *testing.T) {
	for name, moment := range map[string]func(*simulation) bool{
		"first connection":                 func(s *simulation) bool { return s.server.Status() != Status{} },
		"before the server uses the keys":  func(s *simulation) bool { return s.client.keys.Load().next != nil },
		"before the client hears of that":  func(s *simulation) bool { return s.server.keys.Load().previous != nil },
		"after the client has heard of it": func(s *simulation) bool { return s.client.keys.Load().previous != nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := simulate(t, config(1), config(1))
			if name != "first connection" {
				s.connect()
			}
			s.runUntil(10*time.Minute, func() bool { return moment(s) })
			m, _ := s.client.Close(Rejected{}, s.now)
			s.send(s.client, m, serverAddr)
			s.run(4 * s.latency)
			require.Equal(t, Status{}, s.server.Status())
			require.Zero(t, s.server.table.Len())
		})
	}
}

// A response that is forged, late, doubled or for somebody else does not disturb
// the handshake.
func TestStrangeResponses(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.fate = func(*node, []byte) []time.Duration { return nil }
	s.run(time.Millisecond) // the first initiation is lost
	early := s.client.sent[0]
	s.deliver(s.server, early, aliceAddr)
	lateResponse := s.server.sent[0]
	s.run(firstRetry) // the second, too
	require.Len(t, s.client.sent, 2)
	s.deliver(s.server, s.client.sent[1], aliceAddr)
	response := s.server.sent[1]

	s.deliver(s.client, lateResponse, serverAddr)
	require.EqualValues(t, 1, s.client.cfg.Drops.Count(UnknownIndex))
	for i := range 8 * len(response) {
		if 4 <= i/8 && i/8 < 8 {
			continue // the index that the server chose is not authenticated here, but by the next message
		}
		changed := bytes.Clone(response)
		changed[i/8] ^= 1 << (i % 8)
		s.deliver(s.client, changed, serverAddr)
		require.Nil(t, s.client.keys.Load().next)
	}
	s.deliver(s.client, response, serverAddr)
	require.NotNil(t, s.client.keys.Load().next, "the right one still counts")
	before := *s.client.keys.Load()
	s.deliver(s.client, response, serverAddr)
	require.Equal(t, before, *s.client.keys.Load())
	s.fate = nil
	s.connect()
}

// If all answers are changed on the way, the client says that there is none. It does not
// blame the pre-shared key: with a wrong one, the server would have been silent.
func TestForgedResponses(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.fate = func(from *node, m []byte) []time.Duration {
		if from == s.server {
			m[len(m)-1] ^= 1
		}
		return []time.Duration{s.latency}
	}
	s.runUntil(time.Minute, func() bool { return s.client.failed != nil })
	require.EqualValues(t, 6, s.client.cfg.Drops.Count(BadTag), "the answers came, and were changed")
	require.ErrorContains(t, s.client.failed, "no answer from the server after 6 tries")
	require.NotErrorIs(t, s.client.failed, ErrUnread)
	require.False(t, s.client.unread())
}

// A message of the wrong direction is none.
func TestWrongRole(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.deliver(s.client, s.client.sent[0], serverAddr)
	s.deliver(s.server, s.server.sent[0], aliceAddr)
	require.EqualValues(t, 1, s.client.cfg.Drops.Count(BadMessage))
	require.EqualValues(t, 1, s.server.cfg.Drops.Count(UnknownIndex))
}

// The back-off: six initiations, then the end.
func TestTries(t *testing.T) {
	s := simulate(t, config(1), config(2))
	start := s.now
	var at []time.Duration
	s.fate = func(*node, []byte) []time.Duration {
		at = append(at, s.now.Sub(start))
		return []time.Duration{s.latency}
	}
	s.runUntil(time.Minute, func() bool { return s.client.failed != nil })
	sec := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	require.Equal(t, []time.Duration{0, sec(0.5), sec(1.5), sec(3.5), sec(7.5), sec(12.5)}, at)
	require.Equal(t, 17500*time.Millisecond, s.now.Sub(start))
	require.ErrorContains(t, s.client.failed, "after 6 tries")
	require.EqualValues(t, 6, s.server.cfg.Drops.Count(BadTag))
	require.Empty(t, s.server.sent)

	seen := make(map[string]bool)
	for _, m := range s.client.sent {
		ephemeral := string(m[initiationHeader:][:32])
		require.False(t, seen[ephemeral], "each initiation has a fresh key")
		seen[ephemeral] = true
	}
}

// The waits vary by 20 % up and down.
func TestJitter(t *testing.T) {
	i := initiator{cfg: &Config{limits: defaultLimits}, tries: 1}
	shortest, longest := time.Hour, time.Duration(0)
	for range 10000 {
		d := i.backOff()
		shortest, longest = min(shortest, d), max(longest, d)
	}
	require.InDelta(t, 0.8, shortest.Seconds(), 0.01)
	require.InDelta(t, 1.2, longest.Seconds(), 0.01)
}

// A server that restarts is found again: within seconds of the first packet.
func TestServerRestart(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.run(10 * time.Second)
	s.restart(s.server)
	s.server.inside = nil
	start := s.now
	require.True(t, s.write(s.client, ipPacket("lost")))
	s.connect()
	require.LessOrEqual(t, s.now.Sub(start), silenceLimit+time.Second)
	s.run(time.Second)
	require.Positive(t, s.server.cfg.Drops.Count(UnknownIndex))
	require.True(t, s.write(s.client, ipPacket("found")))
	s.run(time.Second)
	require.Equal(t, [][]byte{ipPacket("found")}, s.server.inside)
}

// A client that restarts takes its own place.
func TestClientRestart(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.restart(s.client)
	s.connect()
	s.run(time.Second)
	require.True(t, s.write(s.server, ipPacket("x")))
	s.run(time.Second)
	require.Equal(t, [][]byte{ipPacket("x")}, s.client.inside)
}

func TestClose(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	shut := func(n *node) []byte {
		return n.seal(appendControl(nil, kindClose, nil))
	}
	// The server says it: the client starts over.
	m := shut(s.server)
	s.deliver(s.client, m, serverAddr)
	require.Equal(t, Status{}, s.client.Status())
	require.False(t, s.write(s.client, ipPacket("x")))
	s.run(firstRetry + time.Second)
	require.NotEqual(t, Status{}, s.client.Status())

	// A replay of it does nothing.
	s.deliver(s.client, m, serverAddr)
	require.NotEqual(t, Status{}, s.client.Status())

	// The client says it: the server forgets.
	s.deliver(s.server, shut(s.client), aliceAddr)
	require.Equal(t, Status{}, s.server.Status())
	require.False(t, s.write(s.server, ipPacket("x")))
}

// A stranger's messages while a client closes do no harm: there are no keys then.
func TestResponseWhileClosing(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	m, _ := s.client.Peer.Close(Rejected{}, s.now)
	require.NotNil(t, m)
	reserved := s.client.initiator.reserved
	require.Nil(t, s.client.finish(reserved, response{noise: make([]byte, minNoise)}, serverAddr, s.now))
	_, _, err := s.client.Tick(s.now)
	require.NoError(t, err)
}

// A close that was overtaken by new keys ends nothing.
func TestLateClose(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	m := s.client.seal(appendControl(nil, kindClose, nil))
	s.restart(s.client)
	s.run(time.Second)
	require.NotNil(t, s.server.keys.Load().previous)
	s.deliver(s.server, m, aliceAddr)
	require.NotEqual(t, Status{}, s.server.Status())
}

// A side that receives packets and sends none answers with one keepalive in 3 s.
func TestKeepalives(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	s.client.sent, s.server.sent = nil, nil
	for range 10 { // 20 s, one way
		require.True(t, s.write(s.client, ipPacket("x")))
		s.run(2 * time.Second)
	}
	require.Len(t, s.client.sent, 10)
	require.InDelta(t, 5, len(s.server.sent), 1, "one for all packets of 3 s")
	for _, m := range s.server.sent {
		require.Len(t, m, Overhead)
	}
	require.Empty(t, s.client.inside)

	// Keepalives are not answered, so both fall silent.
	s.run(replyWithin)
	s.client.sent, s.server.sent = nil, nil
	s.run(15 * time.Second)
	require.Empty(t, s.client.sent)
	require.Empty(t, s.server.sent)

	// Except that the client sends one every 25 s.
	s.run(DefaultKeepalive)
	require.Len(t, s.client.sent, 1)
	require.Len(t, s.client.sent[0], Overhead)
	require.Empty(t, s.server.sent)
}

func TestKeepaliveOff(t *testing.T) {
	cfg := config(1)
	cfg.Keepalive = -1
	s := simulate(t, cfg, config(1))
	s.connect()
	s.run(time.Second)
	s.client.sent = nil
	s.run(100 * time.Second)
	require.Empty(t, s.client.sent)
}

// Each side can refuse what the other says in the handshake.
func TestRefusedPayload(t *testing.T) {
	refuse := func([]byte) error { return errors.New("not you") }
	cfg := config(1)
	cfg.OnPayload = refuse

	s := simulate(t, config(1), cfg)
	s.runUntil(time.Minute, func() bool { return s.client.failed != nil })
	require.Empty(t, s.server.sent, "no answer")
	require.EqualValues(t, 6, cfg.Drops.Count(BadMessage))

	s = simulate(t, cfg, config(1))
	s.runUntil(time.Minute, func() bool { return s.client.failed != nil })
	require.ErrorContains(t, s.client.failed, "not you")
	require.Equal(t, Status{}, s.server.Status())
}

// Authentic content that is neither a packet nor a control message is dropped.
func TestStrangeContent(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	for _, inside := range []string{"\x00", "\x00\x00", "\x00\x00\x00\x00", "\x00\x01\x01\x00\x02", "\x00\x02\x02\x00x", "\x10hello", "\x45", "\xff"} {
		m := s.client.seal([]byte(inside))
		s.deliver(s.server, m, aliceAddr)
	}
	require.Empty(t, s.server.inside)
	require.EqualValues(t, 8, s.server.cfg.Drops.Count(link.Malformed))
	require.NotEqual(t, Status{}, s.server.Status())
}

// Timers rest: with traffic in both directions the peer is woken once in some
// seconds, and with none no more often.
func TestWakeUpsAreRare(t *testing.T) {
	s := simulate(t, config(1), config(1))
	s.connect()
	wakes := 0
	s.client.owner = counter{waker{s.client}, &wakes}
	for range 10000 { // 100 s
		s.write(s.client, ipPacket("x"))
		s.write(s.server, ipPacket("x"))
		s.run(10 * time.Millisecond)
	}
	require.Less(t, wakes, 100)
}

// A counter counts the calls of Wake.
type counter struct {
	waker
	wakes *int
}

func (c counter) Wake(at time.Time) { *c.wakes++; c.waker.Wake(at) }

// Any bytes, into both roles, at any time: no panic, no answer, and the session
// stays as it is.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0}, uint8(0))
	f.Add(append(newInitiation(1), make([]byte, minNoise)...), uint8(1))
	f.Add(append(newResponse(1, 2), make([]byte, minNoise)...), uint8(2))
	f.Add(append(appendDataHeader(nil, 1, 2), make([]byte, 16)...), uint8(3))
	// A handshake takes most of the time. As nothing may change a session, it serves
	// for many executions, for less than the time of a rekey.
	var sessions [2]*simulation
	var uses [2]int
	isData := func(_ *node, m []byte) []time.Duration {
		if messageType(m) == typeData {
			return []time.Duration{10 * time.Millisecond}
		}
		return nil
	}
	f.Fuzz(func(t *testing.T, m []byte, how uint8) {
		rekeying := how >> 1 & 1
		if uses[rekeying]%1000 == 0 {
			s := simulate(t, config(1), config(1))
			s.connect()
			if rekeying == 1 { // a handshake is going on, and never ends
				s.fate = isData
				s.run(rekeyAfterTime)
			}
			sessions[rekeying] = s
		}
		uses[rekeying]++
		fuzzPeer(t, sessions[rekeying], m, how)
	})
}

func fuzzPeer(t *testing.T, s *simulation, m []byte, how uint8) {
	s.t = t
	require.Equal(t, how&2 != 0, s.client.initiator.active)
	n, from := s.server, aliceAddr
	if how&1 != 0 {
		n, from = s.client, serverAddr
	}
	m = bytes.Clone(m)
	if how&4 != 0 && len(m) >= 12 { // let it name what exists
		index := n.keys.Load().current.local
		if messageType(m) == typeResponse {
			copy(m[8:], newInitiation(s.client.initiator.reserved.local)[4:])
		} else {
			copy(m[4:], newInitiation(index)[4:])
		}
	}
	s.server.inside, s.client.inside = nil, nil
	before, status, sent := *n.keys.Load(), n.Status(), len(n.sent)
	s.deliver(n, m, from)
	require.Equal(t, before, *n.keys.Load())
	require.Equal(t, status, n.Status())
	require.Len(t, n.sent, sent)
	require.Empty(t, n.inside)
	require.True(t, s.write(s.client, ipPacket("x")))
	s.run(20 * time.Millisecond)
	require.Len(t, s.server.inside, 1)
}

// Any content from the other side itself: what comes out looks like IP, and all
// else is accounted for.
func FuzzInside(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 0, 0})
	f.Add([]byte{0, 2, 1, 0, 9})
	f.Add(ipPacket("x"))
	f.Add([]byte{0x60})
	var s *simulation // serves until the other side has closed the session
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		if s == nil {
			s = simulate(t, config(1), config(1))
			s.connect()
		}
		s.t = t
		malformed := s.server.cfg.Drops.Count(link.Malformed)
		in := s.server.open(s.client.seal(plaintext), aliceAddr, s.now)
		malformed = s.server.cfg.Drops.Count(link.Malformed) - malformed
		require.Same(t, s.server.Peer, in.Peer)
		switch in.Kind {
		case Packet:
			require.True(t, bytes.HasPrefix(plaintext, in.Content))
			require.True(t, plaintext[0]>>4 == 4 || plaintext[0]>>4 == 6)
			n, ok := packetLen(in.Content)
			require.True(t, ok)
			require.Equal(t, len(in.Content), n)
			require.Zero(t, malformed)
		case Control:
			require.True(t, bytes.HasPrefix(plaintext, appendControl(nil, in.Control, in.Content)))
			require.Zero(t, malformed)
		case Closed:
			require.Zero(t, malformed)
			require.Equal(t, Status{}, s.server.Status())
			s = nil
		case Keepalive:
			require.Equal(t, len(plaintext) != 0, malformed == 1)
		default:
			t.Fatal(in.Kind)
		}
	})
}
