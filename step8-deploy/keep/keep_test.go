package keep

import (
	"net/netip"
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

// Rules that others have removed, or that were wanted before, in any mixture: in the
// end there are those that are wanted, in their order, and those of others.
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

	// One is removed, and comes back to its place; all are removed.
	for range 2 {
		lab.Alice.Run(t, "ip", "rule", "del", "priority", "22510", "to", "10.1.0.0/16")
		keep(1, first...)
		require.Equal(t, want, ours(t, lab.Alice))
	}
	lab.Alice.Run(t, "bash", "-c", "for f in -4 -6; do for p in 22506 22509 22510 22512; do while ip $f rule del priority $p protocol 87; do :; done; done; done 2>/dev/null; true")
	keep(len(first), first...)
	require.Equal(t, want, ours(t, lab.Alice))

	// A rule without a destination goes, and not the ones that look like it: the kernel
	// would remove the first one that has all that is named.
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

func TestTable(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Do(func() {
		const name nft.Table = "inet stepvpn_test"
		table := Table{Name: name, Make: func() error {
			return name.Set("table inet stepvpn_test { set s { type ipv4_addr; elements = { 10.0.0.1 }; }; }\n")
		}}
		mend := func(want bool) {
			t.Helper()
			mended, err := table.Mend()
			require.NoError(t, err)
			require.Equal(t, want, mended)
		}
		mend(false) // it should not be there
		require.False(t, Exists(name))
		require.NoError(t, table.Set())
		require.True(t, Exists(name))
		mend(false)
		for _, change := range []string{
			"flush ruleset", "delete table inet stepvpn_test", "add element inet stepvpn_test s { 10.0.0.2 }", "flush set inet stepvpn_test s",
			"add chain inet stepvpn_test x { type filter hook output priority 7; }",
		} {
			mend(false)
			lab.Alice.Run(t, "nft", change)
			mend(true)
		}

		// Somebody removes it right when it has been made, or empties it: it is not forgotten.
		honest := table.Make
		for _, change := range []string{"flush ruleset", "flush set inet stepvpn_test s"} {
			left := 2
			table.Make = func() error {
				err := honest()
				if left--; left >= 0 {
					lab.Alice.Run(t, "nft", change)
				}
				return err
			}
			require.NoError(t, table.Set())
			mend(change == "flush ruleset")
			mend(false)
			require.Contains(t, lab.Alice.Run(t, "nft", "list ruleset"), "10.0.0.1")
		}
		table.Make = honest
		before := generation()
		require.NotZero(t, before)
		lab.Alice.Run(t, "nft", "add table inet x; add table inet y")
		require.Equal(t, before+1, generation())
		require.NoError(t, table.Remove())
		mend(false)
		_, err := name.List()
		require.Error(t, err)
		t.Setenv("PATH", t.TempDir())
		require.Error(t, table.Set())
		_, err = table.Mend()
		require.Error(t, err, "what could not be made is still missing")
	})
}
