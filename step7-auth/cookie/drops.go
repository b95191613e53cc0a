package cookie

import "stepvpn/shared/link"

// Why a message that asks for something is dropped.
var (
	BadMAC    = link.NewReason("bad-mac")    // asks for a handshake, and its sender does not know the server's public key
	Throttled = link.NewReason("throttled")  // asks for a handshake, and its sender does so too often
	UnderLoad = link.NewReason("under-load") // an initiation or a login, while there are too many of them
)
