// Bench compares this course's VPN with the plain wire and with VPNs in common use, in the
// lab. bench.sh builds the lab, and starts it.
package main

import "stepvpn/shared/app"

func main() {
	app.Commands("Bench compares the VPN with others, in the lab (see bench.sh).", run, soak, source, sink, crowdCommand)
}
