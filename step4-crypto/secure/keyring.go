package secure

// A keyring holds the keys that one side shares with the other at one moment. It is
// never modified, only replaced, so a reader needs no lock.
//
//	handshake ──> next ──(a packet arrives under it)──> current ──> previous ──(30 s)──> gone
type keyring struct {
	previous *keypair // opens packets that were on the way when the keys changed
	current  *keypair // seals and opens
	next     *keypair // made by a handshake; nothing has arrived under it yet
}

// all returns the three slots. Empty ones are nil.
func (k *keyring) all() [3]*keypair { return [...]*keypair{k.current, k.previous, k.next} }

// has reports whether s is one of the three.
func (k *keyring) has(s *keypair) bool { return s == k.current || s == k.previous || s == k.next }

// without returns a keyring in which the slots are empty for which drop returns true.
func (k *keyring) without(drop func(*keypair) bool) *keyring {
	keep := func(s *keypair) *keypair {
		if s == nil || drop(s) {
			return nil
		}
		return s
	}
	return &keyring{keep(k.previous), keep(k.current), keep(k.next)}
}
