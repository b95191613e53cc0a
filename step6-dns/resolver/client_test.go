package resolver

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// A clock is set by the test.
type clock struct {
	mu sync.Mutex // guards t
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A gate is an upstream that answers names below "slow." when it is opened.
func gate(t *testing.T) (up *upstreamServer, open func()) {
	opened := make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	up = serve(t, func(m *dns.Msg, _ bool) *dns.Msg {
		if dns.IsSubDomain("slow.", m.Question[0].Name) {
			<-opened
		}
		m.Answer = []dns.RR{rr(t, m.Question[0].Name+" 300 IN A 192.0.2.80")}
		return m
	})
	t.Cleanup(open)
	return up, open
}

func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	const n = 100
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() {
			name := "www.slow."
			if i%2 == 1 {
				name = "WWW.Slow."
			}
			c := &dns.Client{Timeout: limit}
			reply, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), s.at(loopback4))
			if err != nil || len(reply.Answer) != 1 || reply.Question[0].Name != name {
				t.Errorf("%v %v", reply, err)
			}
		})
	}
	netlab.Eventually(t, limit, "all wait for one question", func() bool {
		return s.counters[asked].Load() == 1 && waitNow(s) == n
	})
	open()
	clients.Wait()
	require.Len(t, up.questions(), 1)
	require.Contains(t, s.String(), "queries 100, local 0, from cache 0, joined 99, upstream 1, failed 0;")
}

// waitNow returns how many queries wait for an upstream.
func waitNow(s *Server) int {
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	return s.waiting.total
}

// A client that waits for as much as it may does not keep others from asking.
func TestOneClientDoesNotHoldUpOthers(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	greedy, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.at(loopback4))))
	require.NoError(t, err)
	defer greedy.Close()
	for i := range maxWaitingPerClient {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("name%d.slow.", i), dns.TypeA)
		_, err := greedy.Write(pack(t, q))
		require.NoError(t, err)
		if i%100 == 0 { // not faster than a full socket buffer allows
			netlab.Eventually(t, limit, "queries are read", func() bool { return s.counters[queries].Load() == uint64(i+1) })
		}
	}
	netlab.Eventually(t, limit, "all wait", func() bool { return s.counters[asked].Load() == maxWaitingPerClient })
	_, err = greedy.Write(pack(t, new(dns.Msg).SetQuestion("www.fast.", dns.TypeA)))
	require.NoError(t, err)
	buf := make([]byte, 512)
	greedy.SetReadDeadline(time.Now().Add(limit))
	n, err := greedy.Read(buf)
	require.NoError(t, err)
	var m dns.Msg
	require.NoError(t, m.Unpack(buf[:n]))
	require.Equal(t, dns.RcodeServerFailure, m.Rcode)
	require.Contains(t, s.String(), "refused: too-many 1")

	require.Len(t, ask(t, s, "www.fast.", dns.TypeA).Answer, 1, "127.0.0.1 is another client")
	open()
	netlab.Eventually(t, limit, "nobody waits any more", func() bool {
		s.waiting.mu.Lock()
		defer s.waiting.mu.Unlock()
		return s.waiting.total == 0 && len(s.waiting.of) == 0
	})
}

func TestQuota(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("10.8.0.3"), netip.MustParseAddr("10.8.0.4")
	q := newQuota(3, 2, itself)
	enter := func(client netip.Addr) func() {
		leave := q.enter(client)
		require.NotNil(t, leave)
		return leave
	}
	first, second := enter(a), enter(a)
	require.Nil(t, q.enter(a), "no more for each")
	third := enter(b)
	require.Nil(t, q.enter(c), "no more for all")
	first()
	fourth := enter(c)
	second()
	third()
	fourth()
	require.Zero(t, q.total)
	require.Empty(t, q.of)
}

func itself(a netip.Addr) netip.Addr { return a }

// However many take what they can, there is something left for the next one.
func TestQuotaOfMany(t *testing.T) {
	for greedy := 1; greedy <= 250; greedy++ {
		q := newQuota(maxWaiting, maxWaitingPerClient, itself)
		for more := true; more; {
			more = false
			for i := range greedy {
				more = q.enter(netip.AddrFrom4([4]byte{10, 8, 1, byte(i)})) != nil || more
			}
		}
		require.NotNil(t, q.enter(netip.MustParseAddr("10.8.0.99")), "%d clients have %d of %d", greedy, q.total, q.all)
	}
}

// What one client may have is for all its addresses together, over UDP and over TCP.
func TestAddressesOfOneClient(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up), Client: func(a netip.Addr) netip.Addr {
		if a.IsLoopback() {
			return loopback4
		}
		return a
	}})
	defer open()
	refused := make(chan bool, maxWaitingPerClient)
	for i := range maxWaitingPerClient + 1 {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("name%d.slow.", i), dns.TypeA)
		s.handle(pack(t, q), asker{addr: []netip.Addr{loopback4, loopback6}[i%2], send: func(b []byte) {
			m := new(dns.Msg)
			if m.Unpack(b) == nil && m.Rcode == dns.RcodeServerFailure && s.ctx.Err() == nil {
				refused <- i == maxWaitingPerClient
			}
		}})
	}
	netlab.Eventually(t, limit, "one is refused", func() bool { return len(refused) > 0 })
	require.True(t, <-refused, "the last one is, and no other")
	require.Contains(t, s.String(), "refused: too-many 1")

	for range maxConnsPerClient {
		conn, err := net.Dial("tcp", s.at(loopback6))
		require.NoError(t, err)
		defer conn.Close()
	}
	conn, err := net.Dial("tcp", s.at(loopback4))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(limit)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "its connections by either address are counted together")
}

func dialTCP(t *testing.T, s *Server) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.at(loopback4))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(limit))
	return conn.(*net.TCPConn)
}

func sendTCP(t *testing.T, conn net.Conn, id uint16, name string) {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	q.Id = id
	require.NoError(t, writeTCP(conn, pack(t, q)))
}

func receiveTCP(t *testing.T, conn net.Conn) *dns.Msg {
	t.Helper()
	b, err := readTCP(conn, dns.MaxMsgSize)
	require.NoError(t, err)
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(b))
	return m
}

// Queries of one connection are answered as soon as each can be; one that has
// sent its last still gets its answers.
func TestTCPPipelining(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	conn := dialTCP(t, s)
	sendTCP(t, conn, 1, "www.slow.")
	for id := uint16(2); id < 20; id++ {
		sendTCP(t, conn, id, "www.fast.")
	}
	require.NoError(t, conn.CloseWrite())
	for range 18 {
		require.NotEqualValues(t, 1, receiveTCP(t, conn).Id)
	}
	open()
	require.EqualValues(t, 1, receiveTCP(t, conn).Id)
	_, err := conn.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

// One connection is read only as far as it has places for queries that wait. Then it goes on.
func TestPipelinedQueriesAreBounded(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	conn := dialTCP(t, s)
	const n = 2 * maxPipelined
	for id := range uint16(n) {
		sendTCP(t, conn, id, fmt.Sprintf("name%d.slow.", id))
	}
	netlab.Eventually(t, limit, "all places are taken", func() bool { return s.counters[asked].Load() >= maxPipelined })
	require.Len(t, ask(t, s, "www.fast.", dns.TypeA).Answer, 1, "others are read")
	require.EqualValues(t, maxPipelined+1, s.counters[queries].Load())
	open()
	answered := make(map[uint16]bool)
	for range n {
		answered[receiveTCP(t, conn).Id] = true
	}
	require.Len(t, answered, n)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	l := testLimits()
	l.idle = time.Second
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up), limits: l})
	waits := dialTCP(t, s)
	sendTCP(t, waits, 1, "www.slow.")
	netlab.Eventually(t, limit, "the query is read", func() bool { return s.counters[asked].Load() == 1 })
	var idle []net.Conn
	for _, bytes := range []string{"", "\x00", "\x00\x20abc"} {
		conn := dialTCP(t, s)
		_, err := io.WriteString(conn, bytes)
		require.NoError(t, err)
		idle = append(idle, conn)
	}
	for i, conn := range idle {
		_, err := conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "connection %d", i)
	}
	// The one that has waited for us all the time was not idle.
	open()
	require.EqualValues(t, 1, receiveTCP(t, waits).Id)
}

func TestConnectionsAreBounded(t *testing.T) {
	up, _ := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	var conns []*net.TCPConn
	for range maxConnsPerClient {
		conn := dialTCP(t, s)
		sendTCP(t, conn, 1, "www.fast.")
		receiveTCP(t, conn)
		conns = append(conns, conn)
	}
	_, err := dialTCP(t, s).Read(make([]byte, 1))
	require.Error(t, err, "one too many is closed")
	require.Contains(t, s.String(), "too-many-connections 1")
	conns[0].Close()
	netlab.Eventually(t, limit, "there is room again", func() bool {
		conn := dialTCP(t, s)
		q := new(dns.Msg).SetQuestion("www.fast.", dns.TypeA)
		if writeTCP(conn, pack(t, q)) != nil {
			return false
		}
		_, err := readTCP(conn, 512)
		return err == nil
	})
}

// A client that does not read its answers loses its connection, and holds up
// nobody.
func TestClientThatDoesNotRead(t *testing.T) {
	l := testLimits()
	l.write = 100 * time.Millisecond
	s := start(t, Config{Upstreams: upstreams(serve(t, zone(t, exampleZone...))), limits: l})
	conn := dialTCP(t, s)
	conn.SetReadBuffer(4096)
	query := pack(t, new(dns.Msg).SetQuestion("large.example.", dns.TypeTXT))
	var err error
	for err == nil {
		err = writeTCP(conn, query)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is closed before we give up")
	require.Len(t, ask(t, s, "www.example.", dns.TypeA).Answer, 1)
}

func TestMalformedQueries(t *testing.T) {
	up, _ := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	good := pack(t, new(dns.Msg).SetQuestion("www.fast.", dns.TypeA))
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	twoOPT := new(dns.Msg).SetQuestion("www.fast.", dns.TypeA).SetEdns0(1232, false)
	twoOPT.Extra = append(twoOPT.Extra, twoOPT.Extra[0])
	two := new(dns.Msg).SetQuestion("www.fast.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	for name, q := range map[string][]byte{
		"header only":   good[:headerSize],
		"cut":           good[:len(good)-1],
		"pointer loop":  edit(func(b []byte) []byte { b[12], b[13] = 0xc0, 12; return b }),
		"long label":    edit(func(b []byte) []byte { b[12] = 0x7f; return b }),
		"two questions": pack(t, two),
		"two OPT":       pack(t, twoOPT),
		"an answer": pack(t, &dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: true},
			Question: two.Question[:1], Answer: []dns.RR{rr(t, "www.fast. 1 IN A 192.0.2.1")}}),
		"too long": edit(func(b []byte) []byte { return append(b, make([]byte, maxQuery)...) }),
	} {
		_, reply := exchangeRaw(t, s, q)
		require.Equal(t, dns.RcodeFormatError, reply.Rcode, name)
		require.Equal(t, q[:2], []byte{byte(reply.Id >> 8), byte(reply.Id)}, name)
	}
	require.Empty(t, up.questions())

	// These get nothing. The query behind them does.
	conn, err := net.Dial("udp", s.at(loopback4))
	require.NoError(t, err)
	defer conn.Close()
	for _, q := range [][]byte{{}, good[:11], edit(func(b []byte) []byte { b[2] |= 0x80; return b }), good} {
		_, err := conn.Write(q)
		require.NoError(t, err)
	}
	conn.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	var m dns.Msg
	require.NoError(t, m.Unpack(buf[:n]))
	require.Len(t, m.Answer, 1)
	require.Contains(t, s.String(), "refused: malformed 10, not-a-query 1")

	// Over TCP such a connection ends, after the answers that wait.
	for _, q := range [][]byte{{}, good[:11], edit(func(b []byte) []byte { b[2] |= 0x80; return b }), make([]byte, maxQuery+1)} {
		conn := dialTCP(t, s)
		sendTCP(t, conn, 1, "www.fast.")
		require.NoError(t, writeTCP(conn, q))
		require.EqualValues(t, 1, receiveTCP(t, conn).Id)
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
	}
	require.Contains(t, s.String(), "refused: malformed 13, not-a-query 2")
}

// Queries that are worked on are bounded, and whatever becomes of one, the next is read. Those that wait for an upstream
// are not of them.
func TestQueriesAtWorkAreBounded(t *testing.T) {
	up, open := gate(t)
	hold := make(chan struct{})
	var atWork, most atomic.Int32
	s := start(t, Config{Upstreams: upstreams(up), Addrs: addrs("127.0.0.1"), Client: func(a netip.Addr) netip.Addr {
		if n := atWork.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-hold
		atWork.Add(-1)
		return a
	}})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	client, err := net.Dial("udp4", s.at(loopback4))
	require.NoError(t, err)
	defer client.Close()
	slow := pack(t, new(dns.Msg).SetQuestion("www.slow.", dns.TypeA))
	const each = 10 * readers
	for range each {
		for _, m := range [][]byte{slow, slow[:len(slow)-1], slow[:headerSize], make([]byte, headerSize), {}, make([]byte, maxQuery+1)} {
			_, err := client.Write(m)
			require.NoError(t, err)
		}
	}
	netlab.Eventually(t, limit, "all readers work", func() bool { return atWork.Load() == readers })
	require.Less(t, s.counters[queries].Load(), uint64(6*each), "the others are not read")
	release()
	netlab.Eventually(t, limit, "all are read", func() bool { return s.counters[queries].Load() == 6*each })
	netlab.Eventually(t, limit, "all of use wait for the upstream", func() bool {
		return s.counters[asked].Load() == 1 && waitNow(s) == each
	})
	require.EqualValues(t, readers, most.Load())
	open()
}

func TestCloseWithQueriesThatWait(t *testing.T) {
	up, open := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	conn := dialTCP(t, s)
	for id := range uint16(10) {
		sendTCP(t, conn, id, fmt.Sprintf("name%d.slow.", id))
	}
	dialTCP(t, s) // silent
	netlab.Eventually(t, limit, "all wait", func() bool { return s.counters[asked].Load() == 10 })
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	open()
}

// When a listener fails, all of the server ends, and the log says why.
func TestListenerThatFails(t *testing.T) {
	log := captureLog(t)
	up, _ := gate(t)
	s := start(t, Config{Upstreams: upstreams(up)})
	conn := dialTCP(t, s)
	sendTCP(t, conn, 1, "www.fast.")
	receiveTCP(t, conn)
	raw, err := s.sockets[0].TCP.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { require.NoError(t, unix.Shutdown(int(fd), unix.SHUT_RDWR)) }))
	s.workers.Wait()
	require.Contains(t, log.String(), "names are no longer answered")
	require.Contains(t, log.String(), unix.EINVAL.Error())
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = net.Dial("tcp", s.at(loopback6))
	require.ErrorIs(t, err, unix.ECONNREFUSED)
}
