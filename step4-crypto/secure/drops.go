package secure

import "stepvpn/shared/link"

// The reasons why a message of the tunnel, or a packet for it, is dropped.
var (
	BadMessage   = link.NewReason("bad-message")   // not a message of the tunnel: unknown type, impossible length
	UnknownIndex = link.NewReason("unknown-index") // it names keys that do not exist (any more)
	BadTag       = link.NewReason("bad-tag")       // did not decrypt: altered, or sealed under another key
	Replayed     = link.NewReason("replayed")      // seen before, or too old to tell
	NoSession    = link.NewReason("no-session")    // there are no keys yet, or they have expired
)
