// Package limits bounds what a client may use: a rate in each direction, and a quota for each
// month. It stands between a server's hub and its clients. This is a chapter beyond step 8.
//
// What is counted are the bytes of IP packets inside the tunnel, of both protocols. A client that
// has neither limit nor quota costs a load and a comparison for each packet. Otherwise:
//
//	a packet ── is the quota used up? ── is there anything in the bucket? ── it passes
//	                 │                        │ no
//	                 └ cut off: dropped       └ fair queue (100 ms) ── pacer ── it passes
//	                                             └ too long: dropped
//
// Each file is one idea:
//
//	bucket.go   the rate: a token bucket
//	queue.go    what must wait: a queue that is fair to a client's flows
//	lane.go     one direction of one client: bucket and queue
//	pacer.go    when what waits may go on
//	limits.go   all clients
//	run.go      what is done regularly: begin anew, tell clients, save
//	clock.go    a clock that goes back
//	state.go    the file of what was used
//	notice.go   the sentence for a client, and how it is taken
//	drops.go    names for the counters
//
// Package plan has what does not concern packets: how limits are written, and when a quota begins
// anew.
//
// Not covered: limits for groups of clients, other periods than months, and a share of the
// server's line when all clients together want more than it has.
package limits

import (
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/further/limits/plan"
)

// A Config says what a Table needs.
type Config struct {
	Default  plan.Plan                 // of clients whose line in the registry says nothing else
	Registry func() *identity.Registry // the one in force
	State    string                    // the file of what was used
	Drops    *link.Drops
}

// A Table has the limits of all clients of a server. Its methods are safe for concurrent use.
type Table struct {
	cfg      Config
	down, up *pacer
	wake     chan struct{} // holds an element if a quota may be used up

	mu      sync.Mutex // guards all below
	in      *identity.Registry
	clients map[noise.PublicKey]*Client
	gone    map[noise.PublicKey]plan.Usage // of clients that have left the registry, at most maxClients

	saving sync.Mutex // guards the rest; it is taken before mu
	saved  string
	failed bool // the last save has failed
	write  func(name string, content []byte, o atomicfile.Options) error
}

// Open reads what was used, and the registry.
func Open(cfg Config) *Table {
	start := time.Now()
	now := func() time.Duration { return time.Since(start) }
	t := &Table{cfg: cfg, down: newPacer(now), up: newPacer(now), wake: make(chan struct{}, 1), clients: make(map[noise.PublicKey]*Client), write: atomicfile.Write}
	t.gone = t.read()
	t.Update()
	return t
}

// Held returns what the hub needs to get the packets that have waited.
func (t *Table) Held() *hub.Held { return &hub.Held{ToClients: t.down, FromClients: t.up} }

// A Client has the limits of one client, and what it has used. It is the client's hub.Shaper.
type Client struct {
	table    *Table
	key      noise.PublicKey
	name     string // guarded by Table.mu, as are those up to backAt
	plan     plan.Plan
	since    time.Time     // when the period has begun in which it has used that
	back     time.Time     // if the clock is in an earlier period: what it said when that was seen, see clock.go
	backAt   time.Duration // when that was
	active   atomic.Bool   // it has a limit or a quota
	quota    atomic.Uint64
	used     atomic.Uint64 // bytes
	dropped  atomic.Uint64 // packets
	over     atomic.Bool   // the quota is used up
	cut      atomic.Bool   // so nothing passes
	told     bool          // over, when run has last looked; guarded by Table.mu
	down, up lane
}

// Update makes the registry's limits those in force, for connected clients too. It does nothing
// if the registry is still the same. What a client has used is kept when its line is removed, until the
// period is over: it may come back.
func (t *Table) Update() {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.cfg.Registry()
	if r == t.in {
		return
	}
	t.in = r
	now := time.Now()
	for c := range r.All() {
		mine := t.clients[c.Key]
		if mine == nil {
			mine = &Client{table: t, key: c.Key}
			mine.down.client, mine.down.pacer = mine, t.down
			mine.up.client, mine.up.pacer = mine, t.up
			was := t.gone[c.Key] // what a start has read, or an earlier line of the client's has left
			delete(t.gone, c.Key)
			mine.since = was.Since
			mine.used.Store(was.Bytes)
			t.clients[c.Key] = mine
		}
		mine.name, mine.plan = c.Name, t.cfg.Default.Of(c)
		mine.judge(now)
	}
	for key, c := range t.clients {
		if _, known := r.ByKey(key); !known {
			delete(t.clients, key)
			if used := c.used.Load(); used > 0 && len(t.gone) < maxClients {
				t.gone[key] = plan.Usage{Since: c.since, Bytes: used}
			}
			c.plan = plan.Plan{}
			c.judge(now)
		}
	}
}

// Of returns what bounds the client that has this key, or nil if the registry has no such client.
func (t *Table) Of(key noise.PublicKey) *Client {
	t.Update()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clients[key]
}

// Send decides about a packet to the client: see hub.Shaper.
func (c *Client) Send(p []byte, hints link.Hints) bool { return c.pass(&c.down, p, hints) }

// Receive decides about a packet from the client: see hub.Shaper.
func (c *Client) Receive(p []byte, hints link.Hints) bool { return c.pass(&c.up, p, hints) }

func (c *Client) pass(l *lane, p []byte, hints link.Hints) bool {
	if !c.active.Load() {
		return true
	}
	if c.cut.Load() {
		c.drop(OverQuota)
		return false
	}
	if !l.pass(p, hints) {
		return false
	}
	c.count(len(p))
	return true
}

// drop counts a packet that is dropped.
func (c *Client) drop(why link.Reason) {
	c.table.cfg.Drops.Add(why)
	c.dropped.Add(1)
}

// Dropped returns how many packets limits and quota have dropped since the start.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// count adds to what a client with a quota has used.
func (c *Client) count(n int) {
	quota := c.quota.Load()
	if quota != 0 && c.used.Add(uint64(n)) >= quota && !c.over.Load() {
		select {
		case c.table.wake <- struct{}{}:
		default:
		}
	}
}

// judge makes plan and usage take effect. It returns what the client is to be told if its quota
// is used up, else nil. The caller holds Table.mu.
func (c *Client) judge(now time.Time) *secure.Rejected {
	before := c.used.Load()
	u := c.at(now)
	c.since = u.Since
	if u.Bytes < before {
		c.used.Store(u.Bytes) // what passes at this very moment is forgiven
	}
	over := c.plan.Quota != 0 && u.Bytes >= uint64(c.plan.Quota)
	c.quota.Store(uint64(c.plan.Quota))
	c.over.Store(over)
	c.cut.Store(over && c.plan.Slow == 0)
	down, up := c.plan.Down, c.plan.Up
	if over && c.plan.Slow != 0 {
		down, up = slower(down, c.plan.Slow), slower(up, c.plan.Slow)
	}
	c.down.limit(down)
	c.up.limit(up)
	// A lane that had a limit keeps being asked, until it is empty.
	c.active.Store(c.plan.Quota != 0 || c.down.busy() || c.up.busy())
	if !over {
		return nil
	}
	why := c.plan.UsedUp(now)
	return &why
}

// slower returns the lower one of two rates, of which the second is not 0.
func slower(r, slow plan.Rate) plan.Rate {
	if r == 0 {
		return slow
	}
	return min(r, slow)
}

// Refused returns why a client may not come in: its quota is used up. Otherwise it returns nil.
func (c *Client) Refused() *secure.Rejected {
	if !c.cut.Load() {
		return nil
	}
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if why := c.judge(time.Now()); why != nil && why.Final {
		return why
	}
	return nil
}

// A State is what an operator sees.
type State struct {
	plan.Plan
	Used uint64    // bytes of the quota
	Anew time.Time // when that begins anew
	Over bool      // it is used up
}

// State returns the client's limits, and what it has used.
func (c *Client) State() State {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	now := time.Now()
	c.judge(now)
	return State{Plan: c.plan, Used: c.used.Load(), Anew: plan.Next(now, c.plan.StartDay()), Over: c.over.Load()}
}
