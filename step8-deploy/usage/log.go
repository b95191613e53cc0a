package usage

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"stepvpn/step7-auth/hub"
)

const (
	lookEvery = time.Second
	saveEvery = 8 * time.Second // with the time that it takes, a killed server forgets less than 10 s
	saveAgain = time.Minute     // after a failure
	lockWait  = 10 * time.Second
)

// A Log keeps what the clients of a server use. Its methods are safe for concurrent use.
//
// One goroutine looks at the counters, and another one writes: so a slow disk delays only
// itself.
type Log struct {
	pool string // the folder that has ours
	dir  string // ours

	meter *meter
	asked chan struct{} // holds an element while a query is answered

	mu    sync.Mutex // guards state
	state *state

	io     sync.Mutex // guards the rest, and the files; it is taken before mu
	disk   *disk      // nil: it can't be written to
	opened bool       // the files have been read
	failed bool       // what was tried last has failed, which was logged
}

// New returns a Log whose files are in a folder inside of the folder pool. Start reads them.
func New(pool string) *Log {
	return &Log{pool: pool, dir: filepath.Join(pool, folderName), meter: newMeter(), asked: make(chan struct{}, 1), state: newState()}
}

// Ended is for hub.Config.Ended. It is fast.
func (l *Log) Ended(s hub.Status) { l.meter.ended(s) }

// Start begins to look at the counters of a hub, once a second. The function that it returns
// looks a last time, writes everything, and ends that: call it when the hub has stopped. A
// problem with the files is logged once; then they are tried again each minute.
func (l *Log) Start(snapshot func() []hub.Status) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		l.save() // reads the files: what came before must be known first
		if ctx.Err() != nil {
			return
		}
		running.Go(func() { l.write(ctx) })
		for tick := time.Tick(lookEvery); ; {
			l.look(snapshot)
			select {
			case <-ctx.Done():
				return
			case <-tick:
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
		l.look(snapshot)
		l.save()
		l.io.Lock()
		defer l.io.Unlock()
		if l.disk != nil {
			l.disk.close()
			l.disk = nil
		}
	}
}

// look adds what was used since it was last called.
func (l *Log) look(snapshot func() []hub.Status) {
	now := time.Now()
	used := l.meter.look(now, snapshot)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.add(now, used)
}

// write writes what is new, again and again.
func (l *Log) write(ctx context.Context) {
	for wait := saveEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = saveEvery
		if l.save() != nil {
			wait = saveAgain
		}
	}
}

// save writes all that is not written yet.
func (l *Log) save() error {
	l.io.Lock()
	defer l.io.Unlock()
	err := l.saveLocked()
	switch {
	case err != nil && !l.failed:
		slog.Warn("what the clients use can't be saved: it is kept in memory as long as there is room, and tried again", "folder", l.dir, "error", err)
	case err == nil && l.failed:
		slog.Info("what the clients use can be saved again", "folder", l.dir)
	}
	l.failed = err != nil
	return err
}

// saveLocked is save without log. The caller holds io.
func (l *Log) saveLocked() error {
	if l.disk == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.state.cut()
	queue := slices.Clone(l.state.queue)
	l.mu.Unlock()
	for _, f := range queue {
		if err := l.disk.append(f); err != nil {
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
				l.disk.close()
				l.disk = nil // next time, look what there is
			}
			return err
		}
		l.mu.Lock()
		l.state.written(f.seq)
		l.mu.Unlock()
	}
	err := errors.Join(l.disk.expire(time.Now()), l.forgetAsked())
	if err != nil {
		l.disk.close()
		l.disk = nil
	}
	return err
}

// open opens the files. The first time, it adds to the state what they say, and repairs them.
func (l *Log) open() error {
	d, err := openDisk(l.pool, lockWait)
	if err != nil {
		return err
	}
	read := newState()
	if err := read.replay(d.root, &d.segments, d.repair); err != nil {
		d.close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened {
		l.state.after(read.seq)
	} else {
		l.state.join(read)
	}
	l.disk, l.opened = d, true
	return nil
}

// after makes the numbers of all frames that are not written yet larger than seq.
func (s *state) after(seq uint64) {
	if len(s.queue) > 0 && s.queue[0].seq > seq || len(s.queue) == 0 && s.seq >= seq {
		return
	}
	for _, f := range s.queue {
		f.seq += seq
		if f.covers > 0 {
			f.covers += seq
		}
	}
	for i := range numRings {
		s.newest[i] += seq
		if s.sums[i].covers > 0 {
			s.sums[i].covers += seq
		}
	}
	s.seq += seq
}

// join has a state follow on what the files say. Usually it is still empty: only if the files
// could not be read at the start, there is more.
func (s *state) join(read *state) {
	if s.seq == 0 && len(s.pending) == 0 {
		*s = *read
		return
	}
	s.after(read.seq)
	s.queue = append(read.queue, s.queue...)
	s.queued += read.queued
	for i := minutes; i < numRings; i++ {
		sum := &read.sums[i]
		for id, c := range sum.counts {
			who := read.clients.list[id]
			s.into(i, sum.slot, []entry{{s.clients.id(who), *c}})
		}
	}
}
