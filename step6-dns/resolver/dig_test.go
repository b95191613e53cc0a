package resolver

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// exampleZone is what the tests' upstream knows.
var exampleZone = append([]string{
	"www.example. 300 IN A 192.0.2.80",
	"www.example. 300 IN AAAA 2001:db8:80::80",
	"example. 300 IN MX 10 mail.example.",
	"example. 300 IN TXT \"v=spf1 -all\" \"two strings\"",
	"alias.example. 60 IN CNAME www.example.",
}, manyRecords...)

// manyRecords are more than fit into an answer over UDP.
var manyRecords = func() (rrs []string) {
	for i := range 200 {
		rrs = append(rrs, fmt.Sprintf("large.example. 300 IN TXT \"record number %d of a large answer\"", i))
	}
	return rrs
}()

func upstreams(us ...*upstreamServer) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, u := range us {
		addrs = append(addrs, u.addr)
	}
	return addrs
}

func TestDigGetsRecordsOfEachType(t *testing.T) {
	s := start(t, Config{Upstreams: upstreams(serve(t, zone(t, exampleZone...)))})
	for _, c := range []struct{ args, want string }{
		{"www.example A", "192.0.2.80"},
		{"www.example AAAA", "2001:db8:80::80"},
		{"example MX", "10 mail.example."},
		{"example TXT", `"v=spf1 -all" "two strings"`},
		{"alias.example A", "www.example.\n192.0.2.80"},
		{"alias.example CNAME", "www.example."},
	} {
		for _, how := range []string{"+notcp", "+tcp +noedns", "@::1 +dnssec", "@::1 +tcp"} {
			args := append(strings.Fields(c.args), "+short")
			args = append(args, strings.Fields(how)...)
			require.Equal(t, c.want, strings.TrimSpace(dig(t, s, args...)), "%v", args)
		}
	}
}

func TestDigSaysWhatDoesNotExist(t *testing.T) {
	s := start(t, Config{Upstreams: upstreams(serve(t, zone(t, exampleZone...)))})
	for _, how := range []string{"first", "cached"} {
		out := dig(t, s, "nothing.example", "A")
		require.Contains(t, out, "status: NXDOMAIN", how)
		require.Contains(t, out, "ANSWER: 0, AUTHORITY: 1", how)
		out = dig(t, s, "example", "AAAA")
		require.Contains(t, out, "status: NOERROR", how)
		require.Contains(t, out, "ANSWER: 0, AUTHORITY: 1", how)
	}
	// RFC 2308: a name that does not exist has no record of any type.
	require.Contains(t, dig(t, s, "nothing.example", "MX"), "status: NXDOMAIN")
	require.Contains(t, s.String(), "queries 5, local 0, from cache 3, joined 0, upstream 2, failed 0;")
}

// An answer that is too long for UDP has TC set, and dig comes again over TCP,
// as the resolver itself did.
func TestLargeAnswers(t *testing.T) {
	up := serve(t, zone(t, exampleZone...))
	s := start(t, Config{Upstreams: upstreams(up)})
	for range 2 {
		out := dig(t, s, "large.example", "TXT")
		require.Contains(t, out, ";; Truncated, retrying in TCP mode.")
		require.Contains(t, out, "ANSWER: 200,")
		for i := range 200 {
			require.Contains(t, out, fmt.Sprintf("record number %d of", i))
		}
	}
	require.Len(t, up.questions(), 2, "one over UDP and one over TCP; then from cache")

	for _, c := range []struct{ client, most int }{{0, 512}, {100, 512}, {700, 700}, {1232, 1232}, {4096, 1232}, {65535, 1232}} {
		q := new(dns.Msg).SetQuestion("large.example.", dns.TypeTXT)
		if c.client > 0 {
			q.SetEdns0(uint16(c.client), false)
		}
		b, reply := exchangeRaw(t, s, pack(t, q))
		require.True(t, reply.Truncated)
		require.Equal(t, c.client > 0, reply.IsEdns0() != nil, "OPT is for those who sent one")
		require.LessOrEqual(t, len(b), c.most)
		require.Greater(t, len(b), c.most-100, "what fits is there")
	}
}

func TestDigSeesWhyAQueryIsRefused(t *testing.T) {
	up := serve(t, zone(t, exampleZone...))
	s := start(t, Config{Upstreams: upstreams(up)})
	for _, c := range []struct{ args, want, count string }{
		{"+opcode=NOTIFY www.example", "status: NOTIMP", "not-implemented 1"},
		{"+opcode=UPDATE www.example", "status: NOTIMP", "not-implemented 2"},
		{"version.bind CH TXT", "status: REFUSED", "bad-class 1"},
		{"+norecurse www.example", "status: REFUSED", "not-recursive 1"},
		{"+edns=1 +noednsnegotiation www.example", "status: BADVERS", "bad-version 1"},
		{"www.example TYPE250", "status: REFUSED", "bad-type 1"},
		{"www.example TYPE0", "status: REFUSED", "bad-type 2"},
		{"example AXFR", "Transfer failed", "bad-type 3"},
		{"example IXFR=1 +notcp", "rcvd: 36", "bad-type 4"}, // dig does not say more
		{"+header-only", "status: FORMERR", "malformed 1"},
	} {
		require.Contains(t, dig(t, s, strings.Fields(c.args)...), c.want, c.args)
		require.Contains(t, s.String(), c.count, c.args)
	}
	require.Empty(t, up.questions())
	require.Equal(t, "192.0.2.80", strings.TrimSpace(dig(t, s, "+short", "+cookie=0123456789abcdef",
		"+subnet=198.51.100.0/24", "+nsid", "+padding=128", "+bufsize=4096", "www.example")), "it lives on")
}

func TestSpecialNamesStayHere(t *testing.T) {
	up := serve(t, zone(t, "localhost. 300 IN A 192.0.2.66"))
	s := start(t, Config{Upstreams: upstreams(up)})
	require.Contains(t, dig(t, s, "localhost", "A"), "127.0.0.1")
	require.Contains(t, dig(t, s, "www.LOCALHOST", "AAAA"), "::1")
	require.Contains(t, dig(t, s, "localhost", "MX"), "ANSWER: 0, AUTHORITY: 1")
	require.Contains(t, dig(t, s, "secret.onion"), "status: NXDOMAIN")
	require.Contains(t, dig(t, s, "x.invalid"), "status: NXDOMAIN")
	require.Contains(t, dig(t, s, "_dns.resolver.arpa", "SVCB"), "ANSWER: 0, AUTHORITY: 1")
	require.Contains(t, dig(t, s, "www.example", "ANY", "+notcp"), "RFC8482")
	require.Empty(t, up.questions())
	require.Contains(t, dig(t, s, "notlocalhost"), "status: NXDOMAIN")
	require.Len(t, up.questions(), 1)
	require.Contains(t, s.String(), "queries 8, local 7,")
}

// Whatever the spelling of the question, the answer has the same.
func TestSpellingIsTheClients(t *testing.T) {
	s := start(t, Config{Upstreams: upstreams(serve(t, zone(t, exampleZone...)))})
	for _, name := range []string{"wWw.eXample.", "WWW.EXAMPLE.", "www.example."} {
		reply := ask(t, s, name, dns.TypeA)
		require.Equal(t, name, reply.Question[0].Name)
		require.Equal(t, name, reply.Answer[0].Header().Name)
	}
	require.Contains(t, s.String(), "from cache 2")
}
