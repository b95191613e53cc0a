package resolver

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	netlab.Main(m)
}

// captureLog returns what the log gets until the test ends. It may be read when nothing that logs runs any more.
func captureLog(t *testing.T) *bytes.Buffer {
	log, before := new(bytes.Buffer), slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	return log
}

// limit bounds a wait for what should come soon.
const limit = 20 * time.Second

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.IPv6Loopback()
)

// testLimits are long enough for a busy machine where an answer is expected. A
// test that waits for one that never comes makes them shorter.
func testLimits() limits {
	l := defaultLimits
	l.try, l.total = 10*time.Second, 40*time.Second
	return l
}

// verifyNoLeaks makes the end of the test check that no goroutine is left.
func verifyNoLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// start starts a resolver on the loopback addresses, with a port that is free.
func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	verifyNoLeaks(t)
	if cfg.Addrs == nil {
		cfg.Addrs = []netip.Addr{loopback4, loopback6}
	}
	if cfg.limits.now == nil {
		cfg.limits = testLimits()
	}
	cfg.Port = freePort()
	s, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

var lastPort atomic.Uint32

// freePort returns a port that is free over UDP and over TCP, on each address: this network namespace is the tests' own,
// and the kernel chooses from 32768 up. A port that it chose for UDP may belong to a TCP connection, until a minute after
// that has ended.
func freePort() uint16 { return 10_000 + uint16(lastPort.Add(1)%20_000) }

// at is where a resolver listens on the address.
func (s *Server) at(addr netip.Addr) string { return netip.AddrPortFrom(addr, s.cfg.Port).String() }

// A script answers a message: it may change reply, which is prepared as one
// without records, or return nil to be silent.
type script func(reply *dns.Msg, tcp bool) *dns.Msg

// An upstreamServer is an upstream that plays a script.
type upstreamServer struct {
	addr netip.AddrPort

	mu    sync.Mutex // guards asked
	asked []*dns.Msg
}

// questions returns what was asked so far, over UDP and TCP.
func (u *upstreamServer) questions() []*dns.Msg {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*dns.Msg(nil), u.asked...)
}

// serve starts an upstream on a loopback address, over UDP and TCP.
func serve(t testing.TB, play script) *upstreamServer {
	t.Helper()
	u := &upstreamServer{addr: netip.AddrPortFrom(loopback4, freePort())}
	udp, err := net.ListenPacket("udp", u.addr.String())
	require.NoError(t, err)
	tcp, err := net.Listen("tcp", u.addr.String())
	require.NoError(t, err)
	var servers sync.WaitGroup
	both := []*dns.Server{{PacketConn: udp, UDPSize: 4096}, {Listener: tcp}}
	for _, server := range both {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			u.mu.Lock()
			u.asked = append(u.asked, q)
			u.mu.Unlock()
			reply := new(dns.Msg).SetReply(q)
			if q.IsEdns0() != nil {
				reply.SetEdns0(1232, false)
			}
			if reply = play(reply, server.Listener != nil); reply != nil {
				w.WriteMsg(reply)
			}
		})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		servers.Go(func() { server.ActivateAndServe() })
		<-started
	}
	t.Cleanup(func() {
		for _, server := range both {
			server.Shutdown()
		}
		servers.Wait()
	})
	return u
}

// zone makes a script out of records in the usual text form. Names that it does
// not have do not exist.
func zone(t testing.TB, records ...string) script {
	t.Helper()
	soa := rr(t, "example. 300 IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60")
	var rrs []dns.RR
	for _, text := range records {
		rrs = append(rrs, rr(t, text))
	}
	return func(reply *dns.Msg, tcp bool) *dns.Msg {
		asked := reply.Question[0]
		exists := false
		name := asked.Name
		for range 10 {
			alias := ""
			for _, rr := range rrs {
				if h := rr.Header(); strings.EqualFold(h.Name, name) {
					exists = true
					cname, isAlias := rr.(*dns.CNAME)
					if h.Rrtype == asked.Qtype || isAlias {
						reply.Answer = append(reply.Answer, dns.Copy(rr))
					}
					if isAlias && asked.Qtype != dns.TypeCNAME {
						alias = cname.Target
					}
				}
			}
			if alias == "" {
				break
			}
			name, exists = alias, false
		}
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		if len(reply.Answer) == 0 {
			reply.Ns = []dns.RR{dns.Copy(soa)}
		}
		size := dns.MaxMsgSize
		if !tcp {
			size = 1232
		}
		reply.Truncate(size)
		return reply
	}
}

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	require.NoError(t, err)
	return r
}

// ask asks the resolver over UDP, as a client with EDNS.
func ask(t testing.TB, s *Server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, qtype).SetEdns0(1232, false)
	return exchange(t, s, "udp", q)
}

// exchange sends a message to the resolver and returns the reply.
func exchange(t testing.TB, s *Server, network string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: limit}
	reply, _, err := c.Exchange(q, s.at(loopback4))
	require.NoError(t, err)
	return reply
}

// dig asks the resolver by dig and returns what it prints.
func dig(t testing.TB, s *Server, args ...string) string {
	t.Helper()
	args = append([]string{"@127.0.0.1", "-p", fmt.Sprint(s.cfg.Port), "+tries=1", "+timeout=20"}, args...)
	out, err := exec.Command("dig", args...).CombinedOutput()
	require.NoError(t, err, "dig %s:\n%s", strings.Join(args, " "), out)
	return string(out)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

// writeTCP writes a message behind its length.
func writeTCP(conn net.Conn, m []byte) error {
	_, err := (&dns.Conn{Conn: conn}).Write(m)
	return err
}

// readTCP reads a message of size bytes at most.
func readTCP(conn net.Conn, size int) ([]byte, error) {
	b := make([]byte, size)
	n, err := (&dns.Conn{Conn: conn}).Read(b)
	return b[:n], err
}

// question is the question that a key stands for.
func (k key) question() dns.Question {
	return dns.Question{Name: k.name, Qtype: k.qtype, Qclass: dns.ClassINET}
}

// exchangeRaw sends bytes to the resolver over UDP, and returns the reply as it
// is, and unpacked.
func exchangeRaw(t testing.TB, s *Server, query []byte) ([]byte, *dns.Msg) {
	t.Helper()
	conn, err := net.Dial("udp", s.at(loopback4))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(query)
	require.NoError(t, err)
	conn.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(buf[:n]))
	return buf[:n], m
}
