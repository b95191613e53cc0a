package conntrack

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// Forget removes the connections of clients that have gone, in both families, and of nobody
// else. conntrack(8) has entered them.
func TestForget(t *testing.T) {
	lab := netlab.New(t)
	enter := func(from, to, port string) {
		lab.Server.Run(t, "conntrack", "-I", "-p", "tcp", "-s", from, "-d", to, "--sport", port, "--dport", "80",
			"--state", "ESTABLISHED", "-u", "ASSURED", "-t", "600")
	}
	const web4, web6 = "203.0.113.80", "2001:db8:80::80"
	for _, port := range []string{"1001", "1002"} {
		enter("10.8.0.7", web4, port)
		enter("10.8.0.8", web4, port)
		enter("10.8.0.77", web4, port)
		enter("fd00:8::7", web6, port)
		enter("fd00:8::8", web6, port)
	}
	enter(web4, "10.8.0.7", "1003") // to a client: not one that it began
	count := func(addr string) int {
		family := "ipv4"
		if strings.Contains(addr, ":") {
			family = "ipv6"
		}
		return strings.Count(lab.Server.Run(t, "conntrack", "-L", "-f", family), "ESTABLISHED src="+addr+" ")
	}
	forget := func(addrs ...string) {
		var gone []netip.Addr
		for _, a := range addrs {
			gone = append(gone, netip.MustParseAddr(a))
		}
		var err error
		lab.Server.Do(func() { err = Forget(gone) })
		require.NoError(t, err)
	}
	require.Equal(t, 2, count("10.8.0.7"), "or the test shows nothing")

	forget()
	require.Equal(t, 2, count("10.8.0.7"))
	forget("10.8.0.7")
	require.Zero(t, count("10.8.0.7"))
	require.Equal(t, 2, count("fd00:8::7"), "the other family is another address")
	require.Equal(t, 1, count(web4))
	forget("fd00:8::7", "10.8.0.8", "10.8.0.99")
	require.Zero(t, count("fd00:8::7"))
	require.Zero(t, count("10.8.0.8"))
	require.Equal(t, 2, count("10.8.0.77"))
	require.Equal(t, 2, count("fd00:8::8"))
}
