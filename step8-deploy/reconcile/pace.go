package reconcile

import "time"

// A Pace says how often one thing may be put back, because another program may remove it again
// and again. The zero value is ready to use. It is not safe for concurrent use.
type Pace struct {
	times []time.Time // when it was last put back; at most often of them
	pause time.Duration
}

// If something had to be put back this often within a minute, another program keeps changing
// it. Then it is put back less and less often, until it was left alone for a minute.
const (
	often      = 5
	firstPause = 2 * time.Second
	lastPause  = 10 * time.Second
)

// Wait returns how long to wait before it may be put back again; 0 means now.
func (p *Pace) Wait(now time.Time) time.Duration {
	if p.pause == 0 {
		return 0
	}
	return max(0, p.pause-now.Sub(p.times[len(p.times)-1]))
}

// Mended records that it has been put back, and reports whether this now begins to be too
// often.
func (p *Pace) Mended(now time.Time) (tooOften bool) {
	const together = time.Second // changes within this time count as one
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

// Slow reports whether another program changes it again and again.
func (p *Pace) Slow() bool { return p.pause > 0 }

// Held records that nothing had to be put back.
func (p *Pace) Held(now time.Time) {
	if p.pause > 0 && now.Sub(p.times[len(p.times)-1]) >= time.Minute {
		*p = Pace{}
	}
}
