package resolver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func questionFor(name string, qtype uint16) key { return key{name: name, qtype: qtype} }

// forget makes a cache empty.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Purge()
}

// believed is what is believed of a message with these records.
func believed(t testing.TB, k key, rcode int, now time.Time, answers, authority []string) *answer {
	t.Helper()
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}, Question: []dns.Question{k.question()}}
	for _, text := range answers {
		m.Answer = append(m.Answer, rr(t, text))
	}
	for _, text := range authority {
		m.Ns = append(m.Ns, rr(t, text))
	}
	a, err := believe(m, k, now)
	require.NoError(t, err)
	return a
}

func TestTTLsGetShorterUntilAllIsForgotten(t *testing.T) {
	c, now := newCache(10, 1<<20), time.Now()
	k := questionFor("alias.example.", dns.TypeA)
	c.put(k, believed(t, k, dns.RcodeSuccess, now,
		[]string{"alias.example. 60 IN CNAME www.example.", "www.example. 300 IN A 192.0.2.80"}, nil))
	for _, age := range []time.Duration{0, time.Millisecond, seconds(1), seconds(59), seconds(60) - 1} {
		found := c.get(k, now.Add(age))
		require.NotNil(t, found, age)
		m := found.message(now.Add(age))
		require.EqualValues(t, 60-int(age/time.Second), m.Answer[0].Header().Ttl)
		require.EqualValues(t, 300-int(age/time.Second), m.Answer[1].Header().Ttl)
	}
	require.Nil(t, c.get(k, now.Add(seconds(60))), "the shortest TTL is that of all")
	require.Zero(t, c.lru.Len())
	require.Zero(t, c.bytes)
}

func TestHowLongAnAnswerIsKept(t *testing.T) {
	const soa = "example. 300 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60"
	for name, c := range map[string]struct {
		rcode              int
		answers, authority []string
		want               int // seconds
	}{
		"its TTL":            {answers: []string{"www.example. 7 IN A 192.0.2.1"}, want: 7},
		"a day at most":      {answers: []string{"www.example. 2000000000 IN A 192.0.2.1"}, want: 86400},
		"TTL 0: not at all":  {answers: []string{"www.example. 0 IN A 192.0.2.1"}, want: 0},
		"RFC 2181: negative": {answers: []string{"www.example. 2147483648 IN A 192.0.2.1"}, want: 0},
		"NXDOMAIN":           {rcode: dns.RcodeNameError, authority: []string{soa}, want: 60},
		"NODATA":             {authority: []string{soa}, want: 60},
		"SOA's own TTL":      {authority: []string{strings.Replace(soa, "300", "5", 1)}, want: 5},
		"an hour at most":    {authority: []string{"example. 90000 IN SOA ns.example. h.example. 1 1 1 1 90000"}, want: 3600},
		"no SOA":             {rcode: dns.RcodeNameError, want: 0},
		"a stranger's SOA":   {rcode: dns.RcodeNameError, authority: []string{strings.Replace(soa, "example.", "other.", 1)}, want: 0},
		"alias of nothing": {rcode: dns.RcodeNameError, authority: []string{soa},
			answers: []string{"www.example. 9 IN CNAME nothing.example."}, want: 9},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			a := believed(t, questionFor("www.example.", dns.TypeA), c.rcode, now, c.answers, c.authority)
			require.Equal(t, seconds(c.want), a.ttl)
			m := a.message(now)
			require.Equal(t, c.rcode, m.Rcode)
			for _, rr := range m.Ns {
				require.EqualValues(t, c.want, rr.Header().Ttl, "clients keep it no longer than we do")
			}
		})
	}
}

// The cache never holds more than it may, and the least recently used go first.
func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	k := func(i int) key { return questionFor(fmt.Sprintf("name%d.example.", i), dns.TypeA) }
	a := func(i int) *answer {
		return believed(t, k(i), dns.RcodeSuccess, now, []string{k(i).name + " 300 IN A 192.0.2.1"}, nil)
	}
	c := newCache(100, 1<<20)
	for i := range 100 {
		c.put(k(i), a(i))
	}
	require.NotNil(t, c.get(k(0), now)) // now it is the most recent one
	for i := 100; i < 199; i++ {
		c.put(k(i), a(i))
		require.LessOrEqual(t, c.lru.Len(), 100)
	}
	require.NotNil(t, c.get(k(0), now))
	require.Nil(t, c.get(k(1), now))
	require.Equal(t, 100, c.lru.Len())

	c = newCache(1_000_000, 100_000)
	for i := range 1000 {
		c.put(k(i), a(i))
		c.put(k(i), a(i)) // again
		require.LessOrEqual(t, c.bytes, 100_000)
	}
	require.Greater(t, c.lru.Len(), 100)
	sum := 0
	for _, k := range c.lru.Keys() {
		found, _ := c.lru.Peek(k)
		sum += size(k, found)
	}
	require.Equal(t, sum, c.bytes)

	// One answer must not throw out hundreds of others.
	var texts []string
	for i := range 100 {
		texts = append(texts, fmt.Sprintf("name0.example. 300 IN TXT %q", strings.Repeat("x", 200)+fmt.Sprint(i)))
	}
	before := c.lru.Len()
	large := questionFor("name0.example.", dns.TypeTXT)
	c.put(large, believed(t, large, dns.RcodeSuccess, now, texts, nil))
	require.Equal(t, before, c.lru.Len())
}

// The whole way: the client sees the TTL that is left, and then a new answer.
func TestClientsSeeTheTTLThatIsLeft(t *testing.T) {
	up := serve(t, zone(t, exampleZone...))
	l := testLimits()
	clock := newClock()
	l.now = clock.now
	s := start(t, Config{Upstreams: upstreams(up), limits: l})
	for _, c := range []struct {
		later     time.Duration
		ttl       uint32
		questions int
	}{{0, 300, 1}, {seconds(100), 200, 1}, {seconds(199), 1, 1}, {seconds(1), 300, 2}} {
		clock.add(c.later)
		require.Equal(t, c.ttl, ask(t, s, "www.example.", dns.TypeA).Answer[0].Header().Ttl)
		require.Len(t, up.questions(), c.questions)
	}
}
