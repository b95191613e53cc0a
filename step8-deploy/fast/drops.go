package fast

import "stepvpn/shared/link"

// Congested is the reason for dropping a packet that a congested router has marked, but whose
// sender does not support such marks.
var Congested = link.NewReason("congested")
