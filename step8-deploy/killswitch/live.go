package killswitch

import (
	"log/slog"
	"sync"
)

// A Live keeps a second table with the kill switch's rules, owned by a running nft process
// (owner.go). The kernel lets no other process remove an owned table, so the switch stays closed
// when another program's "flush ruleset" removes the first table.
//
// The zero value has closed nothing. If the kernel (before Linux 5.12) or nft (before 1.0)
// can't do that, it is no error; the log says so. Its methods are safe for concurrent use.
type Live struct {
	mu     sync.Mutex    // guards all below
	wanted string        // the ruleset
	set    string        // what owner has
	owner  *owner        // nil if there is none
	busy   chan struct{} // a goroutine works on it, and closes this when done; nil if none does
	unable bool
}

// Set closes this table, too, as s says. It does not wait for that: the other table is
// closed. It reports whether somebody had ended the nft that owned this one.
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

// settle makes the table what is wanted.
func (l *Live) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.set != l.wanted || l.owner.ended() {
		wanted, o := l.wanted, l.owner
		l.mu.Unlock()
		if o != nil && o.set(wanted) != nil {
			o.close() // or its old table would refuse what is allowed now
			o = nil
		}
		var err error
		if o == nil {
			o, err = newOwner(wanted)
		}
		l.mu.Lock()
		if l.owner, l.set = o, wanted; err != nil {
			slog.Warn("this host can't protect the kill switch's table: a program that flushes the firewall opens the kill switch for a moment", "error", err)
			l.unable = true
			break
		}
	}
	close(l.busy)
	l.busy = nil
}

// wait waits until nothing is left to do. l.mu is locked.
func (l *Live) wait() {
	for l.busy != nil {
		busy := l.busy
		l.mu.Unlock()
		<-busy
		l.mu.Lock()
	}
}

// Close removes this table. The other one stays.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait()
	if l.owner != nil {
		l.owner.close()
	}
	l.owner, l.set = nil, ""
}
