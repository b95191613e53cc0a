package identity

import (
	"net/netip"
	"time"

	"stepvpn/step7-auth/source"
)

// A throttle limits how often passwords can be guessed. It counts per identity and place,
// so that somebody who guesses from elsewhere does not keep the owner waiting. A program
// that has given the right password before is a place of its own, whatever its address;
// and the limit on all guesses together does not hold for places that a right password
// came from.
//
// The zero value is ready to use. It is not safe for concurrent use.
type throttle struct {
	failures map[place]failures  // at single places; at most maxRemembered
	networks map[place]time.Time // when the whole of maxNetwork is available again; at most maxRemembered
	right    map[place]time.Time // where right passwords came from, and when last; at most maxRemembered
	full     time.Time           // when the whole of maxFailures is available again
}

// Limits on a throttle.
const (
	firstDelay = time.Second     // after one wrong password; doubled with each in a row
	maxDelay   = 5 * time.Minute // up to this
	forgetTime = time.Hour       // wrong passwords are forgotten after this time

	// For one identity, a network with many addresses may give this many wrong passwords
	// at once, and then one in each such time.
	maxNetwork    = 20
	networkRefill = 15 * time.Second

	// For all identities together, places that no right password came from before may
	// give this many wrong ones at once, and then one per second.
	maxFailures   = 60
	failureRefill = time.Second

	// This many places of each kind are remembered. To push one out, somebody must give
	// wrong passwords from as many other places; for a place of right passwords, right ones.
	maxRemembered = 4096
)

// A Source says where a password comes from: the program, by the random number that it has
// chosen, and its address. The zero value stands for no source.
type Source struct {
	Instance uint64
	Addr     netip.Addr
}

// A place is where the passwords of an identity come from: an instance, an address or
// a network.
type place struct {
	id       string
	instance uint64
	network  netip.Prefix
}

// An attempt is what one password counts against.
type attempt struct {
	single   place
	networks []place
	program  place
	trusted  bool // the limit on all guesses together does not hold
}

// attempt returns the attempt for a password for this identity from this source.
func (t *throttle) attempt(id string, from Source) attempt {
	a := attempt{program: place{id: id, instance: from.Instance}}
	if _, known := t.right[a.program]; known && from.Instance != 0 {
		a.single, a.trusted = a.program, true
		return a
	}
	a.single = place{id: id}
	for _, p := range source.Networks(nil, from.Addr) {
		a.networks = append(a.networks, a.single)
		a.single = place{id: id, network: p}
	}
	if len(a.networks) > 0 {
		a.networks = a.networks[1:] // the first is the zero place
		_, a.trusted = t.right[a.single]
	}
	return a
}

// failures are the wrong passwords in a row at one place.
type failures struct {
	count int
	last  time.Time
}

// delay returns how long after the last failure the next password may come.
func (f failures) delay() time.Duration {
	if f.count == 0 {
		return 0
	}
	return min(firstDelay<<min(f.count-1, 16), maxDelay)
}

// wait returns how long this place has to wait, and how long all places have to.
func (t *throttle) wait(a attempt, now time.Time) (own, total time.Duration) {
	f := t.failures[a.single]
	own = f.last.Add(f.delay()).Sub(now)
	for _, p := range a.networks {
		own = max(own, t.networks[p].Sub(now.Add((maxNetwork-1)*networkRefill)))
	}
	if !a.trusted {
		total = t.full.Sub(now.Add((maxFailures - 1) * failureRefill))
	}
	return max(own, 0), max(total, 0)
}

// fail notes a wrong password.
func (t *throttle) fail(a attempt, now time.Time) {
	if t.failures == nil {
		t.failures, t.networks, t.right = make(map[place]failures), make(map[place]time.Time), make(map[place]time.Time)
	}
	f := t.failures[a.single]
	if now.Sub(f.last) > forgetTime {
		f.count = 0
	}
	makeRoom(t.failures, a.single, func(f failures) time.Time { return f.last })
	t.failures[a.single] = failures{f.count + 1, now}
	for _, p := range a.networks {
		makeRoom(t.networks, p, itself)
		t.networks[p] = later(t.networks[p], now).Add(networkRefill)
	}
	if !a.trusted {
		t.full = later(t.full, now).Add(failureRefill)
	}
}

// succeed takes back the last fail, and all earlier ones of the same place.
func (t *throttle) succeed(a attempt, now time.Time) {
	delete(t.failures, a.single)
	for _, p := range a.networks {
		t.networks[p] = t.networks[p].Add(-networkRefill)
	}
	if !a.trusted {
		t.full = t.full.Add(-failureRefill)
	}
	for _, p := range []place{a.single, a.program} {
		makeRoom(t.right, p, itself)
		t.right[p] = now
	}
}

// makeRoom drops the oldest place if m is full and p is not in it.
func makeRoom[V any](m map[place]V, p place, at func(V) time.Time) {
	if _, known := m[p]; known || len(m) < maxRemembered {
		return
	}
	var oldest place
	var since time.Time
	for p, v := range m {
		if since.IsZero() || at(v).Before(since) {
			oldest, since = p, at(v)
		}
	}
	delete(m, oldest)
}

func itself(t time.Time) time.Time { return t }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
