package pathmtu

import "stepvpn/step7-auth/hub"

// Control is the server's side: it takes a control message of a client, as
// hub.Config.Control. Until a client has said what its path carries, nothing should be
// padded beyond Safe.
func Control(from hub.Session, kind byte, content []byte) bool {
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
			from.SetMTU(int(size))
		}
		return ok
	}
	return false
}
