// Stepvpn is the whole VPN in one program: server, client, worker, serverWorker, and what an operator
// needs around them.
package main

import (
	"os"

	"stepvpn/shared/app"
)

// commands are all that the program can do.
func commands() []app.Command {
	list := []app.Command{server, client, worker, serverWorker, namesCommand, initServer, initClient, rotateKey, check, statusCommand, waitOnline, pause, recoverCommand, closeSwitch, openSwitch, version, completionCommand}
	return append(list, clientsCommands()...)
}

func main() {
	app.Rephrase(inOurWords)
	os.Exit(execute(os.Args))
}
