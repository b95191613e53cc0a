package uplink

import "time"

// What is mended so often within a minute is being changed by another program. Then it
// is mended more and more seldom, until nothing had to be for a minute.
const (
	often      = 5
	firstPause = 5 * time.Second
	lastPause  = time.Minute
)

// A pace says how often one thing may be mended. The zero value is ready.
type pace struct {
	times []time.Time // the last ones, at most often
	pause time.Duration
}

// may tells whether to mend now.
func (p *pace) may(now time.Time) bool {
	return p.pause == 0 || now.Sub(p.times[len(p.times)-1]) >= p.pause
}

// note notes that it is mended, and tells whether that begins to be too often.
func (p *pace) note(now time.Time) (begins bool) {
	if p.times = append(p.times, now); len(p.times) > often {
		p.times = p.times[1:]
	}
	switch {
	case p.pause > 0:
		p.pause = min(2*p.pause, lastPause)
	case len(p.times) == often && now.Sub(p.times[0]) < time.Minute:
		p.pause = firstPause
		return true
	}
	return false
}

// holds notes that nothing was to be mended.
func (p *pace) holds(now time.Time) {
	if p.pause > 0 && now.Sub(p.times[len(p.times)-1]) >= time.Minute {
		*p = pace{}
	}
}
