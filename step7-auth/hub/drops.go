package hub

import "stepvpn/shared/link"

// The reasons why the hub drops a packet from a client or to one.
var (
	Spoofed     = link.NewReason("spoofed")       // a client's packet with a source address that is not its own
	NoClient    = link.NewReason("no-client")     // to an address of the tunnel's network that no client has
	ToClient    = link.NewReason("to-client")     // from one client to another, which is not allowed
	Looped      = link.NewReason("looped")        // a message of the tunnel that came from an address inside the tunnel
	Multicast   = link.NewReason("multicast")     // to many at once: multicast or broadcast
	NotLoggedIn = link.NewReason("not-logged-in") // from or to a client that has not given its password yet, or was replaced
	Refused     = link.NewReason("refused")       // an initiation by a client that the server does not let in
)
