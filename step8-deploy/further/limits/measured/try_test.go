package measured_test

import (
	"fmt"
	"testing"
)

func TestTry(t *testing.T) {
	w := newWorld(t)
	w.serveIperf()
	w.client("alice", w.Alice)
	w.limit("alice", "-down", "20Mbit/s", "-up", "20Mbit/s")
	for range 2 {
		out, _ := w.Alice.Try("iperf3", "-c", w.near.String(), "-t", "5", "-i", "0.5", "-R", "--get-server-output")
		fmt.Println(out)
		fmt.Println(w.report(w.Server, "server.sock").Drops["over-limit"])
		fmt.Println(w.Server.Run(t, "cat", "/proc/loadavg"))
		fmt.Println(w.Web.Run(t, "nstat", "-as", "TcpExtTCPTimeouts", "TcpRetransSegs", "TcpExtTCPLostRetransmit", "TcpExtTCPRcvCollapsed"))
	}
}
