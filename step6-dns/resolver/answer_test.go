package resolver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// texts are the records as names, types and data.
func texts(rrs []dns.RR) (all []string) {
	for _, rr := range rrs {
		all = append(all, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
	}
	return all
}

func TestWhatDoesNotAnswerTheQuestionIsLeftOut(t *testing.T) {
	k := questionFor("www.example.", dns.TypeA)
	a := believed(t, k, dns.RcodeSuccess, time.Now(), []string{
		"bank.example. 300 IN A 192.0.2.66",
		"www.example. 300 IN TXT stranger",
		"WWW.example. 300 IN CNAME a.example.",
		"a.example. 300 IN CNAME b.other.",
		"other. 300 IN DNAME example.",
		"b.other. 300 IN CNAME b.example.",
		"b.example. 300 IN A 192.0.2.80",
		"b.example. 300 IN RRSIG A 8 2 300 20300101000000 20200101000000 1 example. AAAA",
		"b.example. 300 CH A 192.0.2.66",
		"elsewhere. 300 IN DNAME example.",
	}, []string{
		"example. 300 IN NS ns.example.",
		"example. 300 IN SOA ns.example. h.example. 1 1 1 1 1",
		"example. 300 IN NSEC z.example. A",
	})
	m := a.message(time.Now())
	require.Equal(t, []string{"WWW.example. CNAME", "a.example. CNAME", "other. DNAME", "b.other. CNAME", "b.example. A"}, texts(m.Answer))
	require.Empty(t, m.Ns)
	require.Empty(t, m.Extra)

	k.do = true
	a = believed(t, k, dns.RcodeSuccess, time.Now(), []string{
		"www.example. 300 IN A 192.0.2.80",
		"www.example. 300 IN RRSIG A 8 2 300 20300101000000 20200101000000 1 example. AAAA",
		"www.example. 300 IN RRSIG TXT 8 2 300 20300101000000 20200101000000 1 example. AAAA",
	}, []string{
		"example. 300 IN NS ns.example.",
		"example. 300 IN NSEC z.example. A",
		"example. 300 IN RRSIG NSEC 8 2 300 20300101000000 20200101000000 1 example. AAAA",
	})
	m = a.message(time.Now())
	require.Equal(t, []string{"www.example. A", "www.example. RRSIG"}, texts(m.Answer))
	require.Equal(t, []string{"example. NSEC", "example. RRSIG"}, texts(m.Ns))
}

func TestAliasesInACircle(t *testing.T) {
	k := questionFor("a.example.", dns.TypeA)
	for _, rrs := range [][]string{
		{"a.example. 300 IN CNAME a.example."},
		{"a.example. 300 IN CNAME b.example.", "b.example. 300 IN CNAME a.example."},
	} {
		m := new(dns.Msg)
		for _, text := range rrs {
			m.Answer = append(m.Answer, rr(t, text))
		}
		_, err := believe(m, k, time.Now())
		require.Equal(t, errChain, err)
		k.qtype = dns.TypeCNAME
		a, err := believe(m, k, time.Now())
		require.NoError(t, err)
		require.Len(t, a.message(time.Now()).Answer, 1, "who asks for an alias gets it")
		k.qtype = dns.TypeA
	}
	// As long as may be.
	var chain []string
	for i := range maxChain - 1 {
		chain = append(chain, fmt.Sprintf("%c.example. 300 IN CNAME %c.example.", 'a'+i, 'a'+i+1))
	}
	chain = append(chain, fmt.Sprintf("%c.example. 300 IN A 192.0.2.80", 'a'+maxChain-1))
	slices.Reverse(chain) // the order says nothing
	a := believed(t, k, dns.RcodeSuccess, time.Now(), chain, nil)
	require.Len(t, a.message(time.Now()).Answer, maxChain)
}
