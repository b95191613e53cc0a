package limits

import "stepvpn/shared/link"

// The reasons why a limit or a quota drops a packet.
var (
	OverLimit = link.NewReason("over-limit") // it would have had to wait for too long
	OverQuota = link.NewReason("over-quota") // the client's quota is used up
)
