// Package health finds out whether packets pass a tunnel from end to end, and whether
// names are found. Introduced in step 8.
//
// A session alone says little: the server's host may drop everything that comes out of its
// end. So probes go through the tunnel, to be answered by the server's host: a query to the
// tunnel's resolver, which takes the same way as programs' queries, or, if programs do not
// use the tunnel's resolver, an echo request. The results mean:
//
//	any answer of the resolver          packets pass...
//	SERVFAIL, REFUSED                   ...but names are not found
//	no answer, but an echo reply        the same: the resolver does not work
//	neither                             no packets pass
//
// A failure is reported only after three failed probes in a row; one successful probe ends
// it. There is a probe every 10 s, sooner after a failed one, and none while the traffic
// itself shows that packets pass.
//
// Only the socket of an echo request needs a privilege. A function that is passed in opens
// it: see OpenEcho.
package health

import (
	"context"
	"net"
	"time"
)

const (
	rest  = 10 * time.Second      // between probes
	start = 20 * time.Millisecond // before the first probe: the caller is about to carry packets
	again = time.Second           // between repetitions of a probe's packet, as one may get lost
	retry = 2 * time.Second       // between probes while failures are not certain yet
	soon  = time.Second           // within which a resolver answers if it need not ask others
	tries = 3                     // failed probes in a row that count as a failure

	// proof is how many bytes, received through the tunnel since the last tick, make a probe
	// unnecessary. A host whose own packets do not arrive receives less: TCP's first 10
	// segments once, then repetitions, and one ICMP message per packet.
	proof = 32 << 10

	// maxAge is the greatest age of the keys of a session that is in use: see
	// Config.Handshake.
	maxAge = 3 * time.Minute
)

// A Problem is what keeps packets from passing, and what to do about it. The zero value
// is none.
type Problem struct {
	Reason string // a clause of one line, to follow "but"
	Cure   string // a sentence
}

// The possible Problems.
var (
	noPath = Problem{"no packet comes back through the tunnel",
		"On the server's host, check what the firewall does with packets from the tunnel's device."}
	noNames = Problem{"the server finds no names",
		"On the server, check that dns_upstreams can be reached and answer."}
	noResolver = Problem{"the tunnel's resolver does not answer",
		"On the server's host, check that the firewall accepts UDP port 53 from the tunnel's device."}
	noHandshake = Problem{"the server has not answered for minutes",
		"Check that the server runs."}
)

// An Answer is the outcome of a query.
type Answer int

const (
	Silence Answer = iota // nothing came back
	Failure               // something came back, but no usable answer
	Found                 // or "there is no such name", which is as good
)

// A Config says how to probe. No function is called again before it has returned; but Echo
// may be called while Names runs.
type Config struct {
	// Names asks the tunnel's resolver. It is nil if programs do not use that resolver.
	Names func(ctx context.Context) Answer
	// Echo reports whether the server's host answers an echo request.
	Echo func(ctx context.Context) bool

	// Handshake, if set, is for a peer that answers no probes, such as one that speaks another
	// protocol; then none is sent. It returns when the current keys came into use. They
	// get older than 3 minutes only if the peer does not answer, or nothing is sent.
	Handshake func() time.Time

	// Sent and Received return how many bytes of packets have passed the tunnel so far.
	Sent, Received func() uint64

	// Changed is called with the first result, and whenever the result changes.
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
				conn.Write(packet) // ignore an error, which may be temporary
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
	told   bool    // Changed has been called
	now    Problem // what it was last called with
}

// pause returns how long to wait until the next probe.
func (p *prober) pause() time.Duration {
	if p.failed > 0 && p.failed < tries {
		return retry
	}
	return rest
}

// note records the result of a probe.
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

// look finds out whether packets pass, with a probe if that is needed.
func (p *prober) look(ctx context.Context) Problem {
	sent, received := p.Sent()-p.sent, p.Received()-p.received
	defer func() { p.sent, p.received = p.Sent(), p.Received() }() // after the probe, so that its own bytes do not count
	switch {
	case p.Handshake != nil:
		return p.byAge(sent, received)
	case received >= proof && p.passes():
		return Problem{}
	}
	return p.probe(ctx)
}

// passes reports whether proof that packets pass is enough, and names need not be checked.
func (p *prober) passes() bool { return p.failed == 0 || p.now == noPath }

// byAge judges a peer by the age of its keys.
func (p *prober) byAge(sent, received uint64) Problem {
	switch {
	case time.Since(p.Handshake()) <= maxAge, received > 0:
		return Problem{}
	case sent > 0:
		p.failed = tries // looking again would give the same result
		return noHandshake
	}
	return p.now // nothing new is known
}

// probe sends a query to the resolver and, if that does not answer soon, an echo request to
// the host.
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

// problemOf returns what an answer says about names. Any answer shows that packets pass.
func problemOf(a Answer) Problem {
	if a == Failure {
		return noNames
	}
	return Problem{}
}
