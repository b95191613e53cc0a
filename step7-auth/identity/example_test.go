package identity_test

import (
	"encoding/hex"
	"fmt"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// A client proves to have the key of RFC 7748, section 6.1. The server looks up
// whose it is.
func ExampleRegistry_ByKey() {
	registry, err := identity.Parse("clients", `
# NAME  PUBLIC-KEY  [OPTION...]
alice   hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
bob     3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=  addr=10.8.0.7,fd00:8::7 expires=2026-12-31  # his phone
`)
	if err != nil {
		fmt.Println(err)
		return
	}
	var private noise.PrivateKey
	hex.Decode(private[:], []byte("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
	client, ok := registry.ByKey(private.Public())
	fmt.Println(client, ok)
	fmt.Println(client.Addrs, client.NeedsPassword())
	fmt.Println(client.Expired(time.Date(2026, 12, 30, 23, 59, 59, 0, time.UTC)))
	fmt.Println(client.Expired(time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)))
	// Output:
	// bob true
	// [10.8.0.7 fd00:8::7] false
	// false
	// true
}

func ExampleParseProfile() {
	profile, err := identity.ParseProfile("alice.conf", `
server         vpn.example.org:5555
server-key     3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=
private-key    dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=
user           alice  # optional
`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(profile.Server, profile.User, noise.FormatKey(profile.PrivateKey.Public()))
	// Output:
	// vpn.example.org:5555 alice hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
}
