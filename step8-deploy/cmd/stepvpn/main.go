// Stepvpn is the whole VPN in one program: server, client, and what an operator
// needs around them.
package main

import (
	"stepvpn/shared/app"
	"stepvpn/step7-auth/clients"
)

func main() {
	commands := []app.Command{server, client, initServer, initClient, check, statusCommand, recoverCommand, version}
	for _, c := range clients.Commands(clients.Defaults{Registry: defaultDir + "/clients", Key: defaultDir + "/server.key"}) {
		c.Name = "clients " + c.Name
		commands = append(commands, c)
	}
	app.Commands("Stepvpn is a VPN that is installed, configured, and runs by itself.", commands...)
}
