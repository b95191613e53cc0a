package conf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a text is, it is read or refused, by a message of bounded length. What was read is within
// the limits, prints, and means the same again.
func FuzzParse(f *testing.F) {
	for _, p := range provided {
		f.Add([]byte(fill(p.text)))
	}
	f.Add([]byte(fill(whole)))
	f.Add([]byte("[Interface]\nPostUp = a\n[Peer]\n[x]\nDNS=,"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("F", text)
		if err != nil {
			require.Less(t, len(err.Error()), 500*(maxErrors+1))
			return
		}
		require.LessOrEqual(t, len(file.Peers), MaxPeers)
		require.LessOrEqual(t, len(file.Addresses), MaxAddresses)
		n := 0
		for _, p := range file.Peers {
			n += len(p.AllowedIPs)
		}
		require.LessOrEqual(t, n, MaxAllowedIPs)
		printed := file.Text()
		again, err := Parse("F", printed)
		require.NoError(t, err, "%s", printed)
		require.Equal(t, file, again)
		for _, p := range file.Peers { // each of the AllowedIPs is in exactly one of the networks
			for _, a := range p.AllowedIPs {
				in := 0
				for _, net := range file.Networks() {
					if net.Overlaps(a) {
						in++
						require.True(t, net.Bits() <= a.Bits() && net == net.Masked())
					}
				}
				require.Equal(t, 1, in)
			}
		}
		require.False(t, strings.Contains(string(printed), "\r"))
		require.NotContains(t, file.Networks(), netip.Prefix{})
	})
}
