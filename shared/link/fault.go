package link

import "time"

const (
	faultsAtOnce = 16
	faultPause   = time.Millisecond
)

// Rest is what a ReadBurst does after a passing fault, the nth one in a row. Some
// come at once, such as the answers to a burst of packets; from then on it waits a
// little. So a socket that does nothing but fail takes no processor for itself, and
// one that has packets, too, loses none: they wait in its queue.
func Rest(n int) {
	if n > faultsAtOnce {
		time.Sleep(faultPause)
	}
}
