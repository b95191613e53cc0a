package packet
type TCP struct{}
type UDP struct{}
type ICMP struct{}
