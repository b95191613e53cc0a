// Stepvpn is the whole VPN in one program: server, client, and what an operator
// needs around them.
package main

import "stepvpn/shared/app"

func main() {
	app.Commands("Stepvpn is a VPN that is installed, configured, and runs by itself.",
		initServer, initClient, check, statusCommand, version)
}
