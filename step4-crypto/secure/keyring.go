package secure

// A keyring holds the keys that one side shares with the other at one moment. It
// does not change: a change makes another one. So a reader needs no lock.
type keyring struct {
	previous *session // opens packets that were on the way when the keys changed
	current  *session // seals and opens
	next     *session // made by a handshake; nothing has arrived under it yet
}

// all returns the three slots. Empty ones are nil.
func (k *keyring) all() [3]*session { return [...]*session{k.current, k.previous, k.next} }

// find returns the session that this side named index, or nil.
func (k *keyring) find(index uint32) *session {
	for _, s := range k.all() {
		if s != nil && s.local == index {
			return s
		}
	}
	return nil
}

// without returns a keyring with the slots emptied for which drop reports true.
func (k *keyring) without(drop func(*session) bool) *keyring {
	keep := func(s *session) *session {
		if s == nil || drop(s) {
			return nil
		}
		return s
	}
	return &keyring{keep(k.previous), keep(k.current), keep(k.next)}
}
