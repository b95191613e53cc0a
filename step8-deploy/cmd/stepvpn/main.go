// Stepvpn is the whole VPN in one program: a server, a client, and the commands with which an
// operator sets them up and looks after them.
//
// Server and client are two processes each. The command that a person or systemd starts is
// the keeper (client.go, server.go): it is root, changes the host, and reads no packet. The
// worker (worker.go, worker_server.go) reads the packets and has no privilege. The keeper
// starts it; as a service, systemd does, and a client has a third process, which writes
// resolv.conf (namesprocess.go).
package main

import (
	"os"

	"stepvpn/shared/app"
)

// commands returns all commands of the program.
func commands() []app.Command {
	list := []app.Command{server, client, worker, serverWorker, namesCommand, initServer, initClient, importFile, rotateKey, check, statusCommand, usageCommand, waitOnline, pause, recoverCommand, closeSwitch, openSwitch, version, completionCommand}
	return append(list, clientsCommands()...)
}

func main() {
	app.Rephrase(inOurWords)
	os.Exit(execute(os.Args))
}
