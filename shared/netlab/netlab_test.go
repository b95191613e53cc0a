package netlab

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m) }

func TestEveryHostReachesEveryOther(t *testing.T) {
	lab := New(t)
	ends := []*Host{lab.Alice, lab.Bob, lab.Server, lab.Web}
	for _, from := range ends {
		for _, to := range ends {
			from.Run(t, "ping", "-c", "1", "-W", "5", to.V4.String())
			from.Run(t, "ping", "-c", "1", "-W", "5", to.V6.String())
		}
	}
	require.Contains(t, lab.Alice.Run(t, "traceroute", "-n", "-q", "1", lab.Web.V4.String()), " 2  192.0.2.1 ")
}

func TestDoIsInsideAndComesBack(t *testing.T) {
	lab := New(t)
	home, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	var inside string
	lab.Alice.Do(func() {
		inside, _ = os.Readlink("/proc/thread-self/ns/net")
		_, err = net.InterfaceByName("eth0")
	})
	require.NoError(t, err)
	require.NotEqual(t, home, inside)
	_, err = net.InterfaceByName("eth0")
	require.Error(t, err, "the test itself must stay outside of the hosts")
}

func TestProcessAndItsLog(t *testing.T) {
	lab := New(t)
	p := lab.Alice.Start(t, "sh", "-c", "trap 'echo bye; exit 3' INT; echo hello; while :; do sleep 0.01; done")
	p.WaitLog(t, "hello")
	p.Interrupt()
	require.Equal(t, 3, p.Wait(t))
	require.Equal(t, "hello\nbye\n", p.Log())
	_, err := lab.Alice.Try("false")
	require.Error(t, err)
}

func TestCaptureHasEveryPacketWhenItStops(t *testing.T) {
	lab := New(t)
	c := lab.Cafe.Capture(t, "br0", "icmp")
	lab.Alice.Run(t, "ping", "-c", "20", "-i", "0.01", lab.Web.V4.String())
	c.Stop(t)
	require.Len(t, c.Lines(t), 40)
	require.Len(t, c.Lines(t, "icmp[icmptype] = icmp-echo"), 20)
}

func TestSiteLogsWhoCame(t *testing.T) {
	lab := New(t)
	site := lab.Web.Serve(t)
	got := lab.Alice.Run(t, "curl", "-sS", "http://"+lab.Web.V4.String()+"/whoami")
	require.Equal(t, lab.Alice.V4.String(), strings.TrimSpace(got))
	require.Equal(t, []string{lab.Alice.V4.String() + " GET /whoami"}, site.Visits())
}
