// Clients edits the registry of those who may come in.
package main

import (
	"stepvpn/shared/app"
	"stepvpn/step7-auth/clients"
)

func main() {
	app.Commands("Clients says who may come in, and makes the files that clients need.",
		clients.Commands(clients.Defaults{Registry: "authorized_clients", Key: "server.key"})...)
}
