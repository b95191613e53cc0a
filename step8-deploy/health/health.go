// Package health finds out whether packets pass a tunnel from end to end, and whether
// names are found. Introduced in step 8.
//
// That there is a session says little: the other host may drop what comes out of its
// end. So a probe goes through the tunnel that the server's host answers from inside: a
// query to the tunnel's resolver, which goes the way of all programs' queries, or, where
// names are not the tunnel's, an echo request. What is told is one of these:
//
//	any answer of the resolver          packets pass...
//	SERVFAIL, REFUSED                   ...but names are not found
//	none, but an echo reply             the same: the resolver is dead
//	none at all                         no packets pass
//
// Three probes in a row have to fail before that is said, and one that passes takes it
// back. A probe goes every 10 s, after one that has failed sooner, and none while the
// traffic shows the same.
//
// It needs no privilege but for the socket of an echo request, which is opened by a
// function that is passed in: see OpenEcho.
package health

import (
	"context"
	"net"
	"time"
)

const (
	rest  = 10 * time.Second      // between probes
	start = 20 * time.Millisecond // the caller is about to carry packets
	again = time.Second           // is when a probe's packet is sent once more, and again: one may get lost
	retry = 2 * time.Second       // after one that has failed, until that is certain
	soon  = time.Second           // is when a resolver answers, if it need not ask others
	tries = 3                     // probes that have to fail in a row

	// proof is how many bytes that came through the tunnel since the last tick take the
	// place of a probe. A host that sends in vain gets less: TCP's first 10 segments once,
	// then repetitions, and an ICMP message for a packet.
	proof = 32 << 10

	// maxAge is how old the keys of a session are at most while it is used: see
	// Config.Handshake.
	maxAge = 3 * time.Minute
)

// A Problem is what keeps packets from passing, and what to do about it. The zero value
// is none.
type Problem struct {
	Reason string // a clause of one line, to stand behind "but"
	Cure   string // a sentence
}

// What is found.
var (
	noPath = Problem{"no packet comes back through the tunnel",
		"On the server's host, check the firewall for what comes in by the tunnel's device."}
	noNames = Problem{"the server finds no names",
		"On the server, check that dns_upstreams can be reached and answer."}
	noResolver = Problem{"the tunnel's resolver does not answer",
		"On the server's host, check that the firewall lets UDP port 53 in by the tunnel's device."}
	noHandshake = Problem{"the server has not answered for minutes",
		"Check that the server runs."}
)

// An Answer is what came of a query.
type Answer int

const (
	Silence Answer = iota // nothing came back
	Failure               // something came back, and it was no answer
	Found                 // or "there is no such name", which is as good
)

// A Config says how to probe. No function is called again before it has returned; Echo
// may be while Names is.
type Config struct {
	// Names asks the tunnel's resolver. It is nil where names are not the tunnel's.
	Names func(ctx context.Context) Answer
	// Echo tells whether the server's host answers an echo request.
	Echo func(ctx context.Context) bool

	// Handshake, if set, is for a peer that answers no probes, such as one of another
	// protocol, and none is sent: it returns when the present keys came into use. They
	// are older than 3 minutes only if the peer does not answer, or nothing is sent.
	Handshake func() time.Time

	// Sent and Received return how many bytes of packets have passed the tunnel so far.
	Sent, Received func() uint64

	// Changed is told what is found: at first, and when it is something else.
	Changed func(Problem)
}

// Watch probes until ctx ends. The first probe goes at once.
func Watch(ctx context.Context, cfg Config) {
	p := prober{Config: cfg, received: cfg.Received(), sent: cfg.Sent()}
	for pause := start; ; pause = p.pause() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if found := p.look(ctx); ctx.Err() == nil {
			p.note(found)
		}
	}
}

// repeat sends a packet now, and again every second, until ctx ends. It reports false if
// it can't be sent.
func repeat(ctx context.Context, conn net.Conn, packet []byte) bool {
	if _, err := conn.Write(packet); err != nil {
		return false
	}
	go func() {
		for tick := time.Tick(again); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				conn.Write(packet) // what keeps it from being sent may pass
			}
		}
	}()
	return true
}

// A prober is used by one goroutine.
type prober struct {
	Config
	sent, received uint64 // at the last tick

	failed int     // probes in a row
	told   bool    // something has been
	now    Problem // what was told
}

// pause is how long to wait for the next probe.
func (p *prober) pause() time.Duration {
	if p.failed > 0 && p.failed < tries {
		return retry
	}
	return rest
}

// note takes what a probe has found.
func (p *prober) note(found Problem) {
	if found == (Problem{}) {
		p.failed = 0
	} else if p.failed++; p.failed < tries {
		return
	}
	if !p.told || found != p.now {
		p.told, p.now = true, found
		p.Changed(found)
	}
}

// look returns what it finds.
func (p *prober) look(ctx context.Context) Problem {
	sent, received := p.Sent()-p.sent, p.Received()-p.received
	defer func() { p.sent, p.received = p.Sent(), p.Received() }() // behind the probe's own
	switch {
	case p.Handshake != nil:
		return p.byAge(sent, received)
	case received >= proof && p.passes():
		return Problem{}
	}
	return p.probe(ctx)
}

// passes tells whether it is the path that is to be proven, and not the names.
func (p *prober) passes() bool { return p.failed == 0 || p.now == noPath }

// byAge judges a peer by the age of its keys.
func (p *prober) byAge(sent, received uint64) Problem {
	switch {
	case time.Since(p.Handshake()) <= maxAge, received > 0:
		return Problem{}
	case sent > 0:
		p.failed = tries // to look again would say no more
		return noHandshake
	}
	return p.now // nothing is known that is new
}

// probe sends one; and another one to the host, if the resolver does not answer soon.
func (p *prober) probe(ctx context.Context) Problem {
	answer := make(chan Answer, 1)
	if p.Names == nil {
		answer <- Silence
	} else {
		go func() { answer <- p.Names(ctx) }()
		select {
		case a := <-answer:
			answer <- a
			if a != Silence {
				return problemOf(a)
			}
		case <-time.After(soon):
		}
	}
	alive := p.Echo(ctx)
	switch a := <-answer; {
	case a != Silence:
		return problemOf(a)
	case !alive:
		return noPath
	case p.Names != nil:
		return noResolver
	}
	return Problem{}
}

// problemOf is what an answer says, which shows that the path is well.
func problemOf(a Answer) Problem {
	if a == Failure {
		return noNames
	}
	return Problem{}
}
