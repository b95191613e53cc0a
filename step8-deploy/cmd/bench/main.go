// Bench measures this course's VPN beside the plain wire and beside the VPNs that
// people use, in the lab. It is started by bench.sh, which builds the lab.
package main

import "stepvpn/shared/app"

func main() {
	app.Commands("Bench measures the VPN beside others, in the lab (see bench.sh).", run, soak, source, sink, crowdCommand)
}
