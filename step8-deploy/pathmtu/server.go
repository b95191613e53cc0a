package pathmtu

import (
	"net/netip"

	"stepvpn/step7-auth/hub"
)

// Control returns the server's side: a function that handles control messages of clients,
// meant as hub.Config.Control. mtu is the MTU of the server's device: no packet is longer,
// so none is padded beyond that, even if the path carries more. Until a client has said what
// its path carries, nothing should be padded beyond Safe. Each time a client says so,
// bound is called with the client's addresses and the size; it must not block.
func Control(mtu int, bound func(client []netip.Addr, size int)) func(from hub.Session, kind byte, content []byte) bool {
	return func(from hub.Session, kind byte, content []byte) bool {
		switch kind {
		case kindProbe:
			p, ok := parseProbe(content)
			if ok {
				reply(from, p)
			}
			return ok
		case kindFound:
			size, ok := parseFound(content)
			if ok {
				from.SetMTU(min(int(size), mtu))
				bound(from.Addrs(), int(size))
			}
			return ok
		}
		return false
	}
}

// reply answers a probe.
func reply(to hub.Session, p probe) {
	m := answer(p).append(nil)
	if p.both {
		to.Probe(kindAnswer, m)
	} else {
		to.Control(kindAnswer, m)
	}
}
