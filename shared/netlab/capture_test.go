package netlab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A capture that begins while other packets pass ends, too: the kernel counts some
// of them before it has the filter.
func TestCaptureAmongOthers(t *testing.T) {
	lab := New(t)
	lab.Alice.Start(t, "ping", "-q", "-f", lab.Server.V4.String())
	for range 8 {
		c := lab.Cafe.Capture(t, "br0", "udp port 9")
		for range 3 { // with other labs' floods, a busy kernel may drop one
			lab.Alice.Run(t, "sh", "-c", "echo x | socat -u - UDP:"+lab.Server.V4.String()+":9")
		}
		require.NotEmpty(t, c.Stop())
	}
}
