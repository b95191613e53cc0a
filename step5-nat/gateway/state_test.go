package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseState(t *testing.T) {
	good := `{"owners":[{"device":"vpn0","index":7}],"changes":[
		{"key":"net/ipv6/conf/eth0.5/accept_ra","found":"1","set":"2"},
		{"key":"net/ipv4/ip_forward","found":"0","set":"1","along":{"net/ipv4/conf/all/accept_redirects":"0"}}]}`
	s, err := parseState([]byte(good))
	require.NoError(t, err)
	require.Equal(t, []owner{{"vpn0", 7}}, s.Owners)
	require.Len(t, s.Changes, 2)
	again, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, good, string(again))

	many := func(n int) string {
		return strings.TrimSuffix(strings.Repeat(`{"device":"a","index":1},`, n), ",")
	}
	for bad, says := range map[string]string{
		``:                                       "damaged",
		`[]`:                                     "damaged",
		`{} {}`:                                  "damaged",
		`{"owners":[` + many(65) + `]}`:          "65 gateways",
		strings.Repeat(" ", maxStateSize) + `{}`: "larger than",
		one("net/ipv4/ip_forward", "0\n", "1"):   "not a setting that a gateway changes",
		one("net/ipv4/ip_forward", "", "1"):      "not a setting that a gateway changes",
		one("net/ipv4/ip_forward", "0", "yes"):   "not the value",
		one("kernel/core_pattern", "0", "1"):     "not a setting that a gateway changes",
		one("net/ipv4/conf/../ip_forward", "0", "1"):                                                     "not a setting that a gateway changes",
		one("net/ipv4/conf/../forwarding", "0", "1"):                                                     "not a setting that a gateway changes",
		one("net/ipv4/conf/a/b/forwarding", "0", "1"):                                                    "not a setting that a gateway changes",
		one("../../etc/passwd", "0", "1"):                                                                "not a setting that a gateway changes",
		one("/net/ipv4/ip_forward", "0", "1"):                                                            "not a setting that a gateway changes",
		`{"changes":[{"key":"net/ipv4/ip_forward","found":"0","set":"1","along":{"kernel/panic":"1"}}]}`: "not a setting that a gateway changes",
	} {
		_, err := parseState([]byte(bad))
		require.ErrorContains(t, err, says, "%.80q", bad)
	}
}

// one is a state with one change.
func one(key, found, set string) string {
	return fmt.Sprintf(`{"changes":[{"key":%q,"found":%q,"set":%q}]}`, key, found, set)
}

// Whatever a state says, only listed settings come out of it, and numbers.
func FuzzParseState(f *testing.F) {
	f.Add([]byte(one("net/ipv4/ip_forward", "0", "1")))
	f.Add([]byte(one("net/ipv6/conf/eth0/accept_ra", "1", "2")))
	f.Add([]byte(`{"owners":[{"device":"vpn0","index":7}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			return
		}
		for _, c := range s.Changes {
			keys := []string{c.Key}
			for key, value := range c.Along {
				keys = append(keys, key)
				require.Regexp(t, `^-?\d+$`, value)
			}
			require.Regexp(t, `^-?\d+$`, c.Found)
			require.Regexp(t, `^-?\d+$`, c.Set)
			for _, key := range keys {
				require.Regexp(t, `^net/ipv[46]/`, key)
				require.NotContains(t, strings.Split(key, "/"), "..")
				require.Regexp(t, `(ip_forward|/forwarding|/accept_ra|/accept_redirects)$`, key)
			}
		}
	})
}

func TestDotted(t *testing.T) {
	require.Equal(t, "net.ipv4.ip_forward", dotted(forward4))
	require.Equal(t, "net.ipv6.conf.eth0/5.accept_ra", dotted(acceptRA("eth0.5")))
}
