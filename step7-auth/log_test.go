package step7_test

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step7-auth/identity"
)

// A client that is refused again and again, and strangers, can't hide from the operator
// that another one is; and they can't fill the log.
func TestClientsCantFillTheLog(t *testing.T) {
	w := newWorld(t)
	until := []string{"-expires", "1s"}
	a, b := w.add(t, "alice", until...), w.add(t, "bob", until...)
	time.Sleep(time.Second) // they expire
	s := w.server(t)
	var fd int
	w.Internet.Do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		require.NoError(t, err)
	})
	defer unix.Close(fd)
	ask := func(file string) {
		p, err := identity.LoadProfile(file)
		require.NoError(t, err)
		to := netip.AddrPortFrom(w.Server.V4, w.Port)
		require.NoError(t, sendFrom(fd, netip.AddrPortFrom(netip.MustParseAddr("198.18.0.1"), 1024), to, initiation(t, *p)))
	}
	refused := func(name string) int { return strings.Count(s.Log(), "a client is refused client="+name) }
	for range 60 {
		ask(a)
		time.Sleep(60 * time.Millisecond) // sooner, the same client is not heard
	}
	count := regexp.MustCompile(`[ ,]refused (\d+)`)
	counted := func() (n int) {
		s.Signal(usr1)
		for _, m := range count.FindAllStringSubmatch(s.Log(), -1) {
			n, _ = strconv.Atoi(m[1])
		}
		return n
	}
	netlab.Eventually(t, limit, "alice was refused often", func() bool { return counted() > 30 })
	before := counted()
	netlab.Eventually(t, limit, "bob is refused", func() bool {
		ask(b)
		return counted() > before
	})
	require.Positive(t, refused("bob"), "nobody is told of bob")
	require.Positive(t, refused("alice"))
	require.LessOrEqual(t, refused("alice"), 20)
	interrupt(t, s)
}
