package uplink

import "time"

// What is mended so often within a minute is being changed by another program. Then it
// is mended once in a while, until nothing had to be for a minute.
const (
	often = 5
	pause = 5 * time.Second
)

// A pace says how often one thing may be mended.
type pace struct {
	what, cure string // of the problem that somebody else wants it in another way

	times []time.Time // of the last mends, at most often
	slow  bool        // it is changed again and again
}

// may tells whether to mend now.
func (p *pace) may(now time.Time) bool {
	return !p.slow || now.Sub(p.times[len(p.times)-1]) >= pause
}

// mends notes that it is mended, or that this was tried.
func (p *pace) mends(now time.Time) {
	p.times = append(p.times, now)
	if n := len(p.times); n >= often {
		p.times = p.times[n-often:]
		p.slow = p.slow || now.Sub(p.times[0]) < time.Minute
	}
}

// holds notes that there was nothing to mend.
func (p *pace) holds(now time.Time) {
	if p.slow && now.Sub(p.times[len(p.times)-1]) >= time.Minute {
		p.times, p.slow = nil, false
	}
}
