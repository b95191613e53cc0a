package keep

import "time"

// What is mended so often within a minute is being changed by another program. Then it
// is mended more and more seldom, until nothing had to be for a minute.
const (
	often      = 5
	firstPause = 2 * time.Second
	lastPause  = 10 * time.Second
)

// A Pace says how often one thing may be mended. The zero value is ready.
type Pace struct {
	times []time.Time // the last ones, at most often
	pause time.Duration
}

// Wait returns how long it has to wait until it is mended again, 0 if not at all.
func (p *Pace) Wait(now time.Time) time.Duration {
	if p.pause == 0 {
		return 0
	}
	return max(0, p.pause-now.Sub(p.times[len(p.times)-1]))
}

// Mended notes that it has been, and tells whether that begins to be too often.
func (p *Pace) Mended(now time.Time) (tooOften bool) {
	const together = time.Second // what is removed piece by piece is removed once
	if n := len(p.times); n > 0 && p.pause == 0 && now.Sub(p.times[n-1]) < together {
		return false
	}
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

// Slow tells whether another program changes it again and again.
func (p *Pace) Slow() bool { return p.pause > 0 }

// Held notes that nothing was to be mended.
func (p *Pace) Held(now time.Time) {
	if p.pause > 0 && now.Sub(p.times[len(p.times)-1]) >= time.Minute {
		*p = Pace{}
	}
}
