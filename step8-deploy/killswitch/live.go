package killswitch

import (
	"log/slog"
	"sync"
)

// A Live closes the switch a second time, for as long as this program runs. The zero value
// does not. A kernel (before Linux 5.12) or an nft (before 1.0) that can't do that is no
// error; the log says so. Its methods may be called by several goroutines.
type Live struct {
	mu     sync.Mutex    // guards all below
	wanted string        // the ruleset
	set    string        // what owner has
	owner  *owner        // nil if there is none
	busy   chan struct{} // a goroutine sees to it, and closes this when it has; nil if none does
	unable bool
}

// Set has it closed as s says, too. Nobody has to wait for that: the other table is
// closed. It tells whether somebody had ended it.
func (l *Live) Set(s Switch) (ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = s.ruleset(liveTable, s.Local)
	ended = l.owner != nil && l.owner.ended()
	if l.busy == nil && !l.unable && (ended || l.set != l.wanted) {
		l.busy = make(chan struct{})
		go l.settle()
	}
	return ended
}

// settle makes it what is wanted.
func (l *Live) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.set != l.wanted || l.owner.ended() {
		wanted, o := l.wanted, l.owner
		l.mu.Unlock()
		if o != nil && o.set(wanted) != nil {
			o.close() // or it would refuse what is right by now
			o = nil
		}
		var err error
		if o == nil {
			o, err = newOwner(wanted)
		}
		l.mu.Lock()
		if l.owner, l.set = o, wanted; err != nil {
			slog.Warn("whoever removes all rules of the firewall opens the kill switch for a moment", "error", err)
			l.unable = true
			break
		}
	}
	close(l.busy)
	l.busy = nil
}

// wait waits until nothing more is to be done. l.mu is locked.
func (l *Live) wait() {
	for l.busy != nil {
		busy := l.busy
		l.mu.Unlock()
		<-busy
		l.mu.Lock()
	}
}

// Close ends it. The other table stays.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait()
	if l.owner != nil {
		l.owner.close()
	}
	l.owner, l.set = nil, ""
}
