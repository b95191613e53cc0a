package identity

import (
	"maps"
	"slices"
	"time"
)

// Diff says what has changed between a registry at one time and a registry at a later time:
// among other things, which clients a running server has to cut off. They may be the same
// registry: clients expire by the passing of time alone.
func Diff(old *Registry, then time.Time, new *Registry, now time.Time) *Change {
	change := &Change{Old: old, New: new}
	if old == new {
		for c := range new.All() {
			if c.Expired(now) && !c.Expired(then) {
				change.Expired = append(change.Expired, c)
			}
		}
		return change
	}
	for c := range old.All() {
		if _, ok := new.ByKey(c.Key); !ok {
			change.Revoked = append(change.Revoked, c)
		}
	}
	for c := range new.All() {
		before, known := old.ByKey(c.Key)
		if !known {
			change.Added = append(change.Added, c)
		} else if !same(before, c) {
			change.Updated = append(change.Updated, c)
		}
		if c.Expired(now) && !(known && before.Expired(then)) {
			change.Expired = append(change.Expired, c)
		}
	}
	return change
}

// A Change is what a running server has to act upon. A client is identified by its key:
// another name with the same key is the same client, and the same name with another key
// is another one.
type Change struct {
	Old, New *Registry

	Added   []*Client // of New: they may come in now
	Revoked []*Client // of Old: no longer there
	Expired []*Client // of New: they have expired, and had not before
	Updated []*Client // of New: something else than their key has changed
}

// Empty reports whether there is nothing to do.
func (c *Change) Empty() bool {
	return len(c.Added)+len(c.Revoked)+len(c.Expired)+len(c.Updated) == 0
}

// same reports whether two lines say the same about a client.
func same(a, b *Client) bool {
	return a.Name == b.Name && slices.Equal(a.Addrs, b.Addrs) && a.Expires.Equal(b.Expires) && a.OwnPSK == b.OwnPSK && maps.Equal(a.others, b.others) &&
		a.NeedsPassword() == b.NeedsPassword() && (!a.NeedsPassword() || a.Password.String() == b.Password.String())
}
