package secure

import "stepvpn/shared/link"

// This file is second reading, for a client of several servers (step 8): a burst from the
// device may have packets for more than one of them.

// WriteRun is WriteBurst for a run of b's packets: from number first on, up to the first one
// for which mine returns false. It returns that one's number, or b.Len(). It asks for the
// packets in their order, and for none after that one, as a TUN device of step 8 wants it
// (see Burst.At): so the caller can go on with that one. mine must not block.
func (c *Conn) WriteRun(b *link.Burst, first int, mine func(p []byte) bool) (next int, err error) {
	return c.write(b, first, mine)
}
