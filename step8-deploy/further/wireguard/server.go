package wireguard

import (
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
)

// This file is the server's side: another entrance of the hub, for which there is another key.

// Name is that of the entrance, in a hub.Status.
const Name = "wireguard"

// Entrance returns the server's entrance for clients of the WireGuard protocol, who know the
// server by this key. own are the server's cookies, by its own key: both entrances share its
// limits. times remembers when clients have asked; the caller closes it.
func Entrance(key noise.PrivateKey, own *cookie.Server, times *Times) hub.Entrance {
	cookies := own.WithKey(key.Public())
	return hub.Entrance{
		Name: Name, Handshake: Handshake(key, nil, nil), Check: cookies.Check, Meant: cookies.Meant, Foreign: foreign{times},
	}
}

// foreign is how the hub deals with these clients.
type foreign struct{ *Times }

func (foreign) Format() *secure.Format { return Format }

func (foreign) Sign(response []byte, key noise.PublicKey) []byte {
	return cookie.SignResponse(response, key)
}
