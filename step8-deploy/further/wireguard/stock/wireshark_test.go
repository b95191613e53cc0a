package stock_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// Wireshark takes our server's messages for those of the protocol, and reads a session with the
// keys that the other side has written down; without them, it reads none of the packets.
func TestWiresharkReadsWithTheKeys(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	capture := v.Cafe.Capture(t, "br0", "udp port 5555")
	keys := v.path("wg.keys")
	v.Bob.Run(t, netlab.Program("wgping"), "-conf", file, "-keylog", keys)
	capture.Stop()
	read := func(options ...string) string {
		t.Helper()
		return v.Cafe.Run(t, "tshark", append(options, "-r", capture.File)...)
	}
	eve := read()
	for _, message := range []string{"Handshake Initiation", "Handshake Response", "Transport Data"} {
		require.Contains(t, eve, message)
	}
	require.NotContains(t, eve, "ICMP")
	with := read("-o", "wg.keylog_file:"+keys)
	require.Equal(t, 2, strings.Count(with, "Echo (ping)"), with)

	// With the keys of another session, it reads nothing.
	other := filepath.Join(t.TempDir(), "other.keys")
	text, err := os.ReadFile(keys)
	require.NoError(t, err)
	require.Contains(t, string(text), "LOCAL_EPHEMERAL_PRIVATE_KEY")
	v.Bob.Run(t, netlab.Program("wgping"), "-conf", file, "-keylog", other)
	require.NotContains(t, read("-o", "wg.keylog_file:"+other), "ICMP")
}
