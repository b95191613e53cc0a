package zone

import (
	"net"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// ask returns what the zone says to a question over UDP, without EDNS0.
func ask(name string, kind uint16) *dns.Msg {
	return Answer(Query{Network: "udp", Msg: new(dns.Msg).SetQuestion(name, kind)})
}

func TestTheZone(t *testing.T) {
	for _, c := range []struct {
		name string
		kind uint16
		want []string // of the answer
	}{
		{"web.example.", dns.TypeA, []string{"web.example.\t300\tIN\tA\t203.0.113.80"}},
		{"WEB.Example.", dns.TypeA, []string{"web.example.\t300\tIN\tA\t203.0.113.80"}},
		{"web.example.", dns.TypeAAAA, []string{"web.example.\t300\tIN\tAAAA\t2001:db8:80::80"}},
		{"vpn.example.", dns.TypeA, []string{"vpn.example.\t300\tIN\tA\t203.0.113.10"}},
		{"brief.example.", dns.TypeA, []string{"brief.example.\t1\tIN\tA\t203.0.113.80"}},
		{"example.", dns.TypeMX, []string{"example.\t300\tIN\tMX\t10 mail.example."}},
		{"www.example.", dns.TypeCNAME, []string{"www.example.\t300\tIN\tCNAME\tweb.example."}},
		{"alias.example.", dns.TypeAAAA, []string{
			"alias.example.\t300\tIN\tCNAME\twww.example.",
			"www.example.\t300\tIN\tCNAME\tweb.example.",
			"web.example.\t300\tIN\tAAAA\t2001:db8:80::80",
		}},
		{"loop.example.", dns.TypeA, []string{
			"loop.example.\t300\tIN\tCNAME\tpool.example.",
			"pool.example.\t300\tIN\tCNAME\tloop.example.",
		}},
	} {
		r := ask(c.name, c.kind)
		require.Equal(t, dns.RcodeSuccess, r.Rcode, c.name)
		require.Empty(t, r.Ns, c.name)
		var got []string
		for _, rr := range r.Answer {
			got = append(got, rr.String())
		}
		require.Equal(t, c.want, got)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    uint16
		rcode   int
		answers int
	}{
		{"nothing.example.", dns.TypeA, dns.RcodeNameError, 0},
		{"web.elsewhere.", dns.TypeA, dns.RcodeNameError, 0},
		{"web.", dns.TypeA, dns.RcodeNameError, 0},
		{"web.example.", dns.TypeMX, dns.RcodeSuccess, 0},
		{"only4.example.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"www.example.", dns.TypeMX, dns.RcodeSuccess, 1},
		{"dangling.example.", dns.TypeA, dns.RcodeNameError, 1},
	} {
		r := ask(c.name, c.kind)
		require.Equal(t, c.rcode, r.Rcode, c.name)
		require.Len(t, r.Answer, c.answers, c.name)
		require.Len(t, r.Ns, 1, c.name)
		require.Equal(t, ".\t60\tIN\tSOA\tns.example. hostmaster.example. 1 7200 900 1209600 60", r.Ns[0].String())
	}
	require.Equal(t, uint32(3600), ask(".", dns.TypeSOA).Answer[0].Header().Ttl, "and the zone is as it was")
}

// An answer is as long as its way has room for.
func TestTruncation(t *testing.T) {
	for _, c := range []struct {
		name, network string
		room          uint16 // that the query says; 0 is a query without EDNS0
		truncated     bool
		limit         int
	}{
		{"medium.example.", "udp", 0, true, 512},
		{"medium.example.", "udp", 100, true, 512},
		{"medium.example.", "udp", 1232, false, 1232},
		{"large.example.", "udp", 1232, true, 1232},
		{"large.example.", "udp", 65535, true, 1232},
		{"large.example.", "tcp", 0, false, 4096},
		{"big.example.", "tcp", 1232, false, 8192},
	} {
		m := new(dns.Msg).SetQuestion(c.name, dns.TypeTXT)
		if c.room > 0 {
			m.SetEdns0(c.room, false)
		}
		r := Answer(Query{Network: c.network, Msg: m})
		require.Equal(t, c.truncated, r.Truncated, c)
		require.LessOrEqual(t, r.Len(), c.limit, c)
		require.Equal(t, c.room > 0, r.IsEdns0() != nil, c)
	}
	require.Greater(t, Answer(Query{Network: "tcp", Msg: new(dns.Msg).SetQuestion("big.example.", dns.TypeTXT)}).Len(), 4096)
}

func TestServer(t *testing.T) {
	asked := make(chan string, 10)
	s, err := Start("127.0.0.1:0", func(q Query) *dns.Msg {
		asked <- q.From + " " + q.Question() + " " + q.Network
		if q.Msg.Question[0].Name == "silence." {
			return nil
		}
		return Answer(q)
	})
	require.NoError(t, err)
	_, err = Start(s.Addr().String(), Answer)
	require.ErrorContains(t, err, "address already in use")

	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		r, _, err := client.Exchange(new(dns.Msg).SetQuestion("web.example.", dns.TypeA), s.Addr().String())
		require.NoError(t, err)
		require.Len(t, r.Answer, 1)
		require.Equal(t, "127.0.0.1 web.example. A "+network, <-asked)
	}
	idle, err := net.Dial("tcp", s.Addr().String()) // does not hold up the end
	require.NoError(t, err)
	defer idle.Close()
	require.NoError(t, s.Close())
	_, err = net.Dial("tcp", s.Addr().String())
	require.ErrorContains(t, err, "refused")
}
