package identity

import "time"

// Limits of a throttle.
const (
	firstDelay = time.Second     // after one wrong password; doubled with each in a row
	maxDelay   = 5 * time.Minute // up to this
	forgetTime = time.Hour       // after so long, wrong passwords are forgotten

	// Of all identities together: so many wrong passwords at once, and then one
	// a second. One identity can't use these up: its own delay grows too fast.
	maxFailures   = 60
	failureRefill = time.Second

	// So many identities are remembered. To push one of them out, somebody must
	// have given wrong passwords for all the others since: that takes an hour.
	maxRemembered = 4096
)

// A throttle limits how often passwords can be guessed. Its zero value is ready.
// It is not safe for concurrent use.
type throttle struct {
	failures map[string]failures // by identity; at most maxRemembered
	full     time.Time           // when all of maxFailures are there again
}

// failures are the wrong passwords in a row of one identity.
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

// wait returns how long the identity has to wait, and how long everybody has.
func (t *throttle) wait(id string, now time.Time) (own, total time.Duration) {
	f := t.failures[id]
	own = f.last.Add(f.delay()).Sub(now)
	total = t.full.Sub(now.Add((maxFailures - 1) * failureRefill))
	return max(own, 0), max(total, 0)
}

// fail notes a wrong password.
func (t *throttle) fail(id string, now time.Time) {
	f, known := t.failures[id]
	if now.Sub(f.last) > forgetTime {
		f.count = 0
	}
	if !known && len(t.failures) == maxRemembered {
		t.forgetOldest()
	}
	if t.failures == nil {
		t.failures = make(map[string]failures)
	}
	t.failures[id] = failures{f.count + 1, now}
	if t.full.Before(now) {
		t.full = now
	}
	t.full = t.full.Add(failureRefill)
}

// forgetOldest makes room for another identity.
func (t *throttle) forgetOldest() {
	oldest, found := "", false
	for id, f := range t.failures {
		if !found || f.last.Before(t.failures[oldest].last) {
			oldest, found = id, true
		}
	}
	delete(t.failures, oldest)
}

// succeed takes back the last fail, and all of the identity before it.
func (t *throttle) succeed(id string) {
	delete(t.failures, id)
	t.full = t.full.Add(-failureRefill)
}
