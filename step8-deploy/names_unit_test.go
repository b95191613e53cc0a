package step8_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// In the client's service it is a unit of its own that writes resolv.conf: whoever of the
// two is killed, and whatever others write, names are asked for in the tunnel, and in the
// end as another program has said.
func TestNamesUnit(t *testing.T) {
	const found, written = "nameserver 198.51.100.1\n", "nameserver 198.51.100.2\n"
	w := newWorld(t)
	b := w.box(t)
	w.server(t)
	b.write("etc/resolv.conf", found)
	b.boot()
	read := func() string {
		text, _ := os.ReadFile(b.path("etc/resolv.conf"))
		return string(text)
	}
	tunnels := func(when string) {
		t.Helper()
		netlab.Eventually(t, limit, "the tunnel's resolver is asked: "+when, func() bool {
			return strings.Contains(read(), "nameserver 10.8.0.1\n") && !strings.Contains(read(), "198.51.100")
		})
		w.seenAs(t, w.Server.V4.String())
	}
	b.up()
	tunnels("at first")
	pid := b.of("MainPID")
	b.run("systemctl", "kill", "--signal=KILL", "stepvpn-names")
	tunnels("its writer was killed")
	b.run("systemctl", "restart", "stepvpn-names")
	tunnels("its writer was started anew")
	require.Equal(t, pid, b.of("MainPID"), "the client goes on")
	b.kill()
	tunnels("the client was killed")
	b.write("etc/resolv.conf", written)
	tunnels("another program has written it")
	b.run("systemctl", "stop", "stepvpn-client")
	require.Equal(t, written, read(), "what the other program said")
	out, _ := b.try("systemctl", "is-active", "stepvpn-names")
	require.Equal(t, "inactive", out)
	require.NotContains(t, b.run("ls", "/etc"), "before-stepvpn")
}
