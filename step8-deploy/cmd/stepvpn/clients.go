package main

import (
	"context"
	"flag"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/clients"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
)

// clientsCommands are those of step 7, but for init, which is 'init server' here.
// The file that add hands out is what the service of the client reads.
func clientsCommands() (list []app.Command) {
	for _, c := range clients.Commands(clients.Defaults{
		Registry: defaultDir + "/clients", Key: defaultDir + "/server.key", Format: clientFile,
	}) {
		if c.Name != "init" {
			setup := c.Setup
			c.Name, c.Setup = "clients "+c.Name, func() func(context.Context, []string) error {
				run := setup()
				return func(ctx context.Context, args []string) error { return hinted(run(ctx, args)) }
			}
			list = append(list, c)
		}
	}
	return list
}

func clientFile() func(string, *identity.Profile) (string, error) {
	transport := flag.String("transport", "udp", "have the client's packets carried by `udp` or tcp")
	return func(_ string, p *identity.Profile) (string, error) {
		text, err := config.ClientTemplate{
			File:       defaultDir + "/client.toml",
			Servers:    []string{p.Server},
			ServerKey:  noise.FormatKey(p.ServerKey),
			Transport:  *transport,
			PrivateKey: secretText(&p.PrivateKey),
			PSK:        secretText(p.PresharedKey),
			User:       p.User,
		}.Render()
		return string(text), err
	}
}

// secretText returns a key in base64, or "" for none.
func secretText[K ~[config.KeySize]byte](key *K) string {
	if key == nil || *key == *new(K) {
		return ""
	}
	return noise.FormatKey(*key)
}
