package cookie

import "stepvpn/shared/link"

// Reasons to drop a message that asks for work.
var (
	BadMAC    = link.NewReason("bad-mac")    // an initiation whose sender does not know the server's public key
	Throttled = link.NewReason("throttled")  // an initiation whose sender asks too often
	UnderLoad = link.NewReason("under-load") // an initiation or a login while there are too many of them
)
