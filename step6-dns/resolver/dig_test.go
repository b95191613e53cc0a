package resolver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exampleZone is what the tests' upstream knows.
var exampleZone = []string{
	"www.example. 300 IN A 192.0.2.80",
	"www.example. 300 IN AAAA 2001:db8:80::80",
	"example. 300 IN MX 10 mail.example.",
	"example. 300 IN TXT \"v=spf1 -all\" \"two strings\"",
	"alias.example. 60 IN CNAME www.example.",
}

func TestDigGetsRecordsOfEachType(t *testing.T) {
	up := serve(t, zone(t, exampleZone...))
	s := start(t, Config{Upstreams: []netip.AddrPort{up.addr}})
	for _, c := range []struct{ args, want string }{
		{"www.example A", "192.0.2.80"},
		{"www.example AAAA", "2001:db8:80::80"},
		{"example MX", "10 mail.example."},
		{"example TXT", `"v=spf1 -all" "two strings"`},
		{"alias.example A", "www.example.\n192.0.2.80"},
	} {
		for _, how := range []string{"+notcp", "+tcp", "+noedns", "+dnssec"} {
			args := append(strings.Fields(c.args), "+short", how)
			require.Equal(t, c.want, strings.TrimSpace(dig(t, s, args...)), "%v", args)
		}
	}
}
