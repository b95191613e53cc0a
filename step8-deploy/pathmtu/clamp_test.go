package pathmtu

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// sizes returns the MSS of each SYN and SYN-ACK of a capture.
func sizes(c *netlab.Capture) (seen []string) {
	for _, line := range c.Stop() {
		_, rest, _ := strings.Cut(line, "mss ")
		size, _, _ := strings.Cut(rest, ",")
		seen = append(seen, size)
	}
	return seen
}

// Both ends of a connection through the device are told what fits, for connections of this
// host and of hosts behind it, in both directions.
func TestClamp(t *testing.T) {
	lab := netlab.New(t)
	lab.Internet.ServeSite(t)
	lab.Alice.ServeSite(t)
	// Here, the cafe is the host that clamps, and up0 is its tunnel. A capture sees incoming
	// packets before they are changed.
	check := func(v4, v6 string) {
		t.Helper()
		const syn = "(tcp port 80) and (tcp[13] & 2 != 0 or (ip6 and ip6[40+13] & 2 != 0))"
		out, in := lab.Cafe.Capture(t, "up0", syn), lab.Cafe.Capture(t, "br0", syn)
		for _, c := range []struct {
			from *netlab.Host
			to   string
		}{
			{lab.Alice, lab.Internet.V4.String()}, {lab.Alice, "[" + lab.Internet.V6.String() + "]"},
			{lab.Internet, lab.Alice.V4.String()}, {lab.Cafe, lab.Internet.V4.String()},
		} {
			c.from.Run(t, "curl", "-gsS", "--max-time", "20", "http://"+c.to+"/whoami")
		}
		require.Equal(t, []string{v4, "1460", v6, "1440", "1460", v4, v4, "1460"}, sizes(out))
		require.Equal(t, []string{"1460", v4, "1440", v6, v4, "1460"}, sizes(in))
	}
	do := func(f func() error) {
		t.Helper()
		lab.Cafe.Do(func() { require.NoError(t, f()) })
	}
	before := lab.Cafe.Run(t, "nft", "list", "ruleset")
	check("1460", "1440")
	for _, size := range []int{1340, 1220, 1340} {
		do(func() error { return OurTable.Set(Ruleset("up0", size)) })
	}
	check("1300", "1280")
	do(func() error { return OurTable.Set(Ruleset("up0", 9000)) }) // it is never raised
	check("1460", "1440")
	do(func() error { return OurTable.Set(Ruleset("other0", 1220)) })
	check("1460", "1440")
	do(OurTable.Remove)
	do(OurTable.Remove)
	require.Equal(t, before, lab.Cafe.Run(t, "nft", "list", "ruleset"))
}
