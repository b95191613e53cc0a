// Clients makes the server's key, edits the registry of the clients that may come in, and makes
// the files that these need.
package main

import (
	"stepvpn/shared/app"
	"stepvpn/step7-auth/clients"
)

func main() {
	app.Commands("Clients edits the list of clients that may come in, and makes the files that they need.",
		clients.Commands(clients.Defaults{Registry: "authorized_clients", Key: "server.key"})...)
}
