package pathmtu

import "stepvpn/step7-auth/hub"

// Control returns the server's side, which takes control messages of clients, as
// hub.Config.Control. mtu is that of the server's device: packets of this length are as
// long as they get, and are not padded, whatever the path has room for. Until a client has said what its path carries, nothing should be
// padded beyond Safe.
func Control(mtu int) func(from hub.Session, kind byte, content []byte) bool {
	return func(from hub.Session, kind byte, content []byte) bool { return control(from, kind, content, mtu) }
}

func control(from hub.Session, kind byte, content []byte, mtu int) bool {
	switch kind {
	case kindProbe:
		p, ok := parseProbe(content)
		if ok {
			from.Control(kindAnswer, answer(p).append(nil))
		}
		return ok
	case kindFound:
		size, ok := parseFound(content)
		if ok {
			from.SetMTU(min(int(size), mtu))
		}
		return ok
	}
	return false
}
