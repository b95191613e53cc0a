package reconcile

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/nft"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func to(priority int, n string) policy.Rule {
	p := netip.MustParsePrefix(n)
	r := policy.NewRule(hostnet.FamilyOf(p.Addr()), priority, unix.RT_TABLE_MAIN, "to "+n)
	r.To(p)
	return r
}

// Rules were removed by others, or were wanted before, in any mixture. In the end there are
// the wanted rules, in their order, and those of others.
func TestRules(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "rule", "add", "priority", "22510", "to", "9.9.9.9", "lookup", "main", "protocol", "7")
	lab.Alice.Run(t, "ip", "rule", "add", "priority", "22520", "to", "9.9.9.9", "lookup", "main", "protocol", "87")
	foreign := ours(t, lab.Alice)
	keep := func(missing int, want ...policy.Rule) {
		t.Helper()
		lab.Alice.Do(func() {
			n, err := Rules(22506, 22512, want)
			require.NoError(t, err)
			require.Equal(t, missing, n)
		})
	}
	refusal := policy.NewRefusal(hostnet.V4, 22512, unix.RTN_UNREACHABLE, "unreachable")
	first := []policy.Rule{
		guard.Own(hostnet.V4, 22506), guard.Own(hostnet.V6, 22506), to(22510, "10.1.0.0/16"), to(22510, "10.2.0.0/16"), to(22510, "fd01::/64"),
		route.Local(hostnet.V4, 22510), refusal,
	}
	first = append(first, guard.Refuse(hostnet.V6, 22509)...)
	keep(len(first), first...)
	want := ours(t, lab.Alice)
	require.Contains(t, want, "22510:	from all to 10.1.0.0/16 lookup main proto 87\n22510:	from all to 10.2.0.0/16 lookup main proto 87\n"+
		"22510:	from all lookup main suppress_prefixlength 0 proto 87\n22512:	from all unreachable proto 87")
	keep(0, first...)
	require.Equal(t, want, ours(t, lab.Alice))

	// One rule is removed, and comes back in its place. Then all are removed.
	for range 2 {
		lab.Alice.Run(t, "ip", "rule", "del", "priority", "22510", "to", "10.1.0.0/16")
		keep(1, first...)
		require.Equal(t, want, ours(t, lab.Alice))
	}
	lab.Alice.Run(t, "bash", "-c", "for f in -4 -6; do for p in 22506 22509 22510 22512; do while ip $f rule del priority $p protocol 87; do :; done; done; done 2>/dev/null; true")
	keep(len(first), first...)
	require.Equal(t, want, ours(t, lab.Alice))

	// A rule without a destination is removed, and not those that look like it, although the
	// kernel removes the first rule with all named properties.
	keep(1, to(22510, "10.2.0.0/16"), to(22512, "10.3.0.0/16"))
	require.Equal(t, "22510:	from all to 10.2.0.0/16 lookup main proto 87\n22512:	from all to 10.3.0.0/16 lookup main proto 87",
		strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(ours(t, lab.Alice), "22510:	from all to 9.9.9.9 lookup main proto 7\n", ""),
			"22520:	from all to 9.9.9.9 lookup main proto 87\n", "")))
	keep(0)
	require.Equal(t, foreign, ours(t, lab.Alice))
}

func ours(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", "for f in -4 -6; do ip $f rule | grep -E '^225'; done; true")
}

func TestTables(t *testing.T) {
	lab := netlab.New(t)
	real, err := exec.LookPath("nft")
	require.NoError(t, err)
	bin := t.TempDir()
	// The runs of nft are counted. The command in "then" runs right after nft, as other
	// programs may.
	require.NoError(t, os.WriteFile(bin+"/nft", []byte(fmt.Sprintf(`#!/bin/sh
echo >>%[1]s/runs
%[2]s "$@" || exit
if [ -e %[1]s/then ]; then mv %[1]s/then %[1]s/now; %[2]s -f %[1]s/now; fi
`, bin, real)), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	runs := func() int {
		text, _ := os.ReadFile(bin + "/runs")
		os.Remove(bin + "/runs")
		return len(text)
	}
	table := func(name, address string) Table {
		return Table{nft.Table("inet " + name), fmt.Sprintf("table inet %s { set s { type ipv4_addr; elements = { %s }; }; }\n", name, address)}
	}
	one, two := table("stepvpn_one", "10.0.0.1"), table("stepvpn_two", "10.0.0.2")
	lab.Alice.Do(func() {
		var tables Tables
		mend := func(want ...string) {
			t.Helper()
			mended, err := tables.Mend()
			require.NoError(t, err)
			require.Equal(t, want, mended)
		}
		const gone1, gone2 = "nft table inet stepvpn_one", "nft table inet stepvpn_two"
		mend() // there are no tables
		require.False(t, Exists(one.Name))
		before := generation()
		require.NotZero(t, before)
		require.NoError(t, tables.Set(one, two))
		require.True(t, Exists(one.Name) && Exists(two.Name))
		require.Equal(t, before+1, generation(), "one transaction")
		require.NoError(t, tables.Set(two, one))
		require.Equal(t, 1, runs(), "a table that exists costs nothing")
		mend()
		require.Equal(t, 1, runs(), "now its listing is read")
		mend()
		require.Zero(t, runs(), "no table has changed")
		lab.Alice.Run(t, real, "add table inet other")
		mend()
		require.Equal(t, 1, runs(), "somebody has")
		mend()
		require.Zero(t, runs())

		for change, want := range map[string][]string{
			"flush ruleset": {gone1, gone2}, "delete table inet stepvpn_one": {gone1},
			"add element inet stepvpn_one s { 10.0.0.3 }": {gone1}, "flush set inet stepvpn_two s": {gone2},
			"add chain inet stepvpn_two x { type filter hook output priority 7; }": {gone2},
		} {
			mend()
			lab.Alice.Run(t, real, change)
			mend(want...)
			mend()
		}

		// Somebody removes or empties a table right after it was made: it is not forgotten.
		for _, change := range []string{"flush ruleset", "flush set inet stepvpn_one s"} {
			require.NoError(t, tables.Only())
			require.NoError(t, os.WriteFile(bin+"/then", []byte(change+"\n"), 0o600))
			require.NoError(t, tables.Set(one))
			if change == "flush ruleset" {
				mend(gone1)
			} else {
				mend()
			}
			mend()
			require.Contains(t, lab.Alice.Run(t, real, "list ruleset"), "10.0.0.1")
		}

		other := table("stepvpn_one", "10.0.0.9")
		require.NoError(t, tables.Set(other, two))
		require.NoError(t, tables.Only(other))
		require.False(t, Exists(two.Name))
		require.Contains(t, lab.Alice.Run(t, real, "list ruleset"), "10.0.0.9")
		mend()
		require.NoError(t, tables.Only())
		require.False(t, Exists(one.Name))
		mend()

		t.Setenv("PATH", t.TempDir())
		require.Error(t, tables.Set(one))
		require.Error(t, tables.Set(one), "it is not made yet")
		_, err := tables.Mend()
		require.Error(t, err, "a table that could not be made is still missing")
	})
}
