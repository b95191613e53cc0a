// Stepvpn is the whole VPN in one program: server, client, worker, serverWorker, and what an operator
// needs around them.
package main

import (
	"stepvpn/shared/app"
)

func main() {
	app.Rephrase(inOurWords)
	commands := []app.Command{server, client, worker, serverWorker, namesCommand, initServer, initClient, rotateKey, check, statusCommand, waitOnline, pause, recoverCommand, closeSwitch, openSwitch, version}
	commands = append(commands, clientsCommands()...)
	app.Commands("Stepvpn is a VPN that is installed, configured, and runs by itself.", commands...)
}
