// Keygen makes the key that client and server share.
package main

import (
	"context"
	"flag"
	"fmt"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/keyfile"
)

var out = flag.String("out", "vpn.key", "write the key to this new `file`")

func main() {
	app.Main("Keygen makes a secret key, for a client and a server to share.", run)
}

func run(context.Context) error {
	if *out == "" {
		return app.Usage("-out is empty: give the name of a new file")
	}
	if err := keyfile.Create(*out); err != nil {
		return err
	}
	fmt.Printf("%s: a new key. Copy it to the other side in a safe way, such as scp.\n", *out)
	return nil
}
