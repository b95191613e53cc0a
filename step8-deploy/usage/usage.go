// Package usage keeps how much each client has used the server, in files that outlive it.
// Introduced in step 8.
//
// Once a second it reads the counters that the hub has anyway, so a packet costs nothing more.
// What was added since the last time goes into four rings of fixed size:
//
//	seconds   for an hour     3,600
//	minutes   for a day       1,440
//	hours     for 31 days       744
//	days      for two years     730
//
// Each ring is a run of files of its own, to which only is appended: see segment.go. The
// seconds are written every 8 s; a minute, an hour or a day once, when it is over. What
// happened before that is in the ring below, out of which it is made again after a crash (see
// replay.go). So a killed server forgets at most 10 s, of each ring.
//
// A client is known by its public key, together with the name that it had at the time. What
// was used is kept when a client is renamed or revoked, until it is too old, or Forget is
// called.
//
// # Why not a database
//
// The files have to be safe to read, whatever is in them: they must never stop the VPN, and
// root reads what an unprivileged process has written. bbolt (v1.5.0) maps its file into memory
// and trusts it. We damaged one page of such a file, or cut the file off, 500 times; each time a
// process opened it, called Tx.Check and wrote to it, with recover and
// runtime/debug.SetPanicOnFault in place. Three times the process died of a memory fault in a
// goroutine of bbolt's own, where nobody can recover it, and once it had not ended after 20 s. Its pages have no
// checksum, either, apart from two. SQLite is safer there, but many times as large as this
// program's own code, and would see nothing of the data but blocks of bytes.
//
// Each file:
//
//	usage.go    the rings, and what is counted
//	meter.go    from the hub's counters to what was added in a second
//	rings.go    from seconds to minutes, hours and days
//	frame.go    how these are encoded
//	segment.go  the files, and what is done about damaged ones
//	disk.go     the folder of the files
//	replay.go   what a start finds
//	log.go      how it runs
//	query.go    what can be asked
//	forget.go   how a client's history is erased
//	table.go    tables for people, JSON and CSV
package usage

import (
	"time"

	"stepvpn/step4-crypto/noise"
)

// Counts are what a client has used in some time. Received is what came from the client, Sent
// is what went to it: packets, and the bytes of these, are those of the IP packets inside the
// tunnel.
type Counts struct {
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
	SentBytes       uint64 `json:"sent_bytes"`
	SentPackets     uint64 `json:"sent_packets"`
	Handshakes      uint64 `json:"handshakes"`
	Drops           uint64 `json:"dropped_packets"`   // see hub.Status.Dropped
	Connected       uint64 `json:"connected_seconds"` // whole seconds
}

const fields = 7

// list returns all counts, in the order in which they are encoded.
func (c *Counts) list() [fields]*uint64 {
	return [fields]*uint64{&c.ReceivedBytes, &c.ReceivedPackets, &c.SentBytes, &c.SentPackets, &c.Handshakes, &c.Drops, &c.Connected}
}

// Add adds counts. A sum that is too large wraps around.
func (c *Counts) Add(d Counts) {
	c.ReceivedBytes += d.ReceivedBytes
	c.ReceivedPackets += d.ReceivedPackets
	c.SentBytes += d.SentBytes
	c.SentPackets += d.SentPackets
	c.Handshakes += d.Handshakes
	c.Drops += d.Drops
	c.Connected += d.Connected
}

// A Client is who used something.
type Client struct {
	Key  noise.PublicKey
	Name string // at that time
}

// The rings, from the finest to the coarsest.
const (
	seconds = iota
	minutes
	hours
	days
	numRings
)

// A ring has a number of slots, each for the same time.
type ring struct {
	name  string        // of its files
	step  time.Duration // of a slot
	slots int
}

var rings = [numRings]ring{
	{"seconds", time.Second, 3600},
	{"minutes", time.Minute, 24 * 60},
	{"hours", time.Hour, 31 * 24},
	{"days", 24 * time.Hour, 2 * 365},
}

// span is the time for which a ring has slots.
func (r ring) span() time.Duration { return r.step * time.Duration(r.slots) }

// slot returns the start of the slot that has a time, in steps since 1970 in UTC.
// (A clock that is before 1970 or after 9999 counts as being there.)
func (r ring) slot(t time.Time) int64 {
	return min(max(0, t.Unix()), maxTime) / int64(r.step/time.Second)
}

// start returns when a slot starts.
func (r ring) start(slot int64) time.Time {
	return time.Unix(slot*int64(r.step/time.Second), 0).UTC()
}

// above returns the slot of the next coarser ring that a slot of ring i is in.
func above(i int, slot int64) int64 { return slot / int64(rings[i+1].step/rings[i].step) }
