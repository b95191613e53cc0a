package identity

import (
	"net/netip"
	"time"

	"stepvpn/step7-auth/source"
)

// Limits of a throttle.
const (
	firstDelay = time.Second     // after one wrong password; doubled with each in a row
	maxDelay   = 5 * time.Minute // up to this
	forgetTime = time.Hour       // after so long, wrong passwords are forgotten

	// Of an identity from one network, which has many addresses: so many wrong passwords
	// at once, and then one each.
	maxNetwork    = 20
	networkRefill = 15 * time.Second

	// Of all identities together, from where no right one came before: so many wrong
	// passwords at once, and then one a second.
	maxFailures   = 60
	failureRefill = time.Second

	// So many places are remembered, of each kind. To push one of them out, somebody must
	// have given wrong passwords at many others since, and right ones to push out one that
	// those have come from.
	maxRemembered = 4096
)

// A Source is where a password comes from: which program gives it, by the random number
// that it has chosen, and at which address. The zero value is no source.
type Source struct {
	Instance uint64
	Addr     netip.Addr
}

// A throttle limits how often passwords can be guessed. What counts is an identity
// together with a place: who guesses somewhere else does not keep the owner waiting. The
// program that has given the right password before is a place of its own, whatever its
// address; and where the right one came from, the guesses in total do not count.
//
// Its zero value is ready. It is not safe for concurrent use.
type throttle struct {
	failures map[place]failures  // at single places; at most maxRemembered
	networks map[place]time.Time // when all of maxNetwork are there again; at most maxRemembered
	right    map[place]time.Time // where the right one has come from last; at most maxRemembered
	full     time.Time           // when all of maxFailures are there again
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
	trusted  bool // the total does not count
}

// attempt returns that of a password of an identity that comes from a source.
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
		a.networks = a.networks[1:] // the first was none
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

// wait returns how long the place has to wait, and how long everybody has.
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

// succeed takes back the last fail, and all at the same place before it.
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

// makeRoom drops the oldest place, unless there is room for another one or p is known.
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
