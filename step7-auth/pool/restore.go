package pool

import (
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
)

// restore takes the leases over from the state file when the server starts, and keeps them
// saved from now on.
func (p *Pool) restore(name string) error {
	file, saved, err := openState(name)
	if err != nil {
		return err
	}
	if dropped := p.adoptAll(saved, time.Now()); dropped > 0 {
		slog.Warn("leases are dropped: clients can't have these addresses in the tunnel's subnets", "leases", dropped, "file", name)
	}
	if file != nil {
		p.store = keep(file, p.snapshot)
	}
	return nil
}

// adoptAll enters the leases from a state file. It returns how many are in none of the subnets.
func (p *Pool) adoptAll(saved state, now time.Time) (dropped int) {
	for _, r := range saved.records {
		at := now
		if saved.closed && r.released.Before(now) {
			at = now.Add(r.released.Sub(now)) // with a monotonic reading
		}
		if !p.adopt(r, at) {
			dropped++
		}
	}
	return dropped
}

// adopt enters a lease from the state file, unless it is in none of the subnets.
func (p *Pool) adopt(r record, released time.Time) bool {
	for _, f := range p.families {
		if f.has(r.addr) {
			f.adopt(r, released)
			return true
		}
	}
	return false
}

// snapshot returns all leases, to be saved.
func (p *Pool) snapshot() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := state{closed: p.closed}
	for _, f := range p.families {
		s.records = f.appendRecords(s.records, time.Now())
	}
	return s
}

// adopt enters a released lease from the state file.
func (f *family) adopt(r record, at time.Time) {
	l := &lease{addr: r.addr, owner: r.owner, since: at, place: -1}
	f.byAddr[l.addr] = l
	if l.owner != nobody {
		f.byOwner[l.owner] = l
	}
	f.queue(l)
}

// appendRecords appends what is to be saved of the family.
func (f *family) appendRecords(records []record, now time.Time) []record {
	for _, l := range f.byAddr {
		r := record{l.addr, l.owner, l.since}
		if l.inUse {
			r.released = now
		}
		records = append(records, r)
	}
	return records
}

// Away returns the clients that have released their leases less than the grace time ago, with
// their addresses. If the server that had the state file was killed, these are all its clients.
func (p *Pool) Away(now time.Time) map[noise.PublicKey][]netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	away := make(map[noise.PublicKey][]netip.Addr)
	for _, f := range p.families {
		for _, l := range f.byOwner {
			if !l.inUse && now.Sub(l.since) < f.grace {
				away[l.owner] = append(away[l.owner], l.addr)
			}
		}
	}
	return away
}
