package fast

import "stepvpn/shared/link"

// Congested is why a packet is dropped that the network on the way marked as too much,
// and whose sender does not know such marks.
var Congested = link.NewReason("congested")
