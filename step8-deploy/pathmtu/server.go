package pathmtu

import (
	"net/netip"

	"stepvpn/step7-auth/hub"
)

// Control returns the server's side, which takes control messages of clients, as
// hub.Config.Control. mtu is that of the server's device: packets of this length are as
// long as they get, and are not padded, whatever the path has room for. Until a client has
// said what its path carries, nothing should be padded beyond Safe. bound is told what the
// paths to a client's addresses carry, as often as the client says it; it must not block.
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
