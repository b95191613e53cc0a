package cookie

import "stepvpn/shared/link"

// The reasons why a message that asks the server for work is dropped.
var (
	BadMAC    = link.NewReason("bad-mac")    // an initiation whose sender does not know the server's public key
	Throttled = link.NewReason("throttled")  // an initiation whose sender asks too often
	UnderLoad = link.NewReason("under-load") // an initiation or a login while there are too many of them
)
