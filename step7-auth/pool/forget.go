package pool

import (
	"time"

	"stepvpn/step4-crypto/noise"
)

// forget takes a client's lease away from it. It reports whether there was one.
func (f *family) forget(id noise.PublicKey, now time.Time) bool {
	l := f.byOwner[id]
	if l == nil {
		return false
	}
	if l.inUse {
		f.stop(l, now)
	}
	f.disown(l)
	return true
}

// disown leaves a lease that is not in use to nobody.
func (f *family) disown(l *lease) {
	delete(f.byOwner, l.owner)
	l.owner = nobody
}

// remove makes the address of a lease that is not in use free. nil is ignored.
func (f *family) remove(l *lease) {
	if l == nil {
		return
	}
	f.unqueue(l)
	delete(f.byAddr, l.addr)
	if l.owner != nobody {
		delete(f.byOwner, l.owner)
	}
}
