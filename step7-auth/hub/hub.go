// Package hub serves many clients on one socket and one TUN device: each packet
// finds its client, and each client has its own addresses and no others.
// Introduced in step 7.
//
// It is the relay of step 1 once more, with one end that fans out. A packet from
// the device goes to the client that has its destination address. A message from
// the socket names a session, the session belongs to a client, and what is
// inside must come from that client's address.
//
//	           ┌─ receive ─ index → client → open → its source? ─┐
//	socket ────┤                                                 ├──── device
//	           └─ send ── seal ← client ← destination address ───┘
//	initiations: cookie check → handshake queue → lookup, lease → answer
//
// Each file is one idea:
//
//	config.go     what the hub needs, and its limits
//	hub.go        how it runs
//	client.go     one client, from its first initiation to its end
//	instances.go  what is known of one key: the runs of programs that have it, and their newest initiations
//	directory.go  finds clients: identity → client, address → client
//	queues.go     a socket and the device's queue that belongs to it
//	receive.go    from the socket to the device
//	addresses.go  what an address is to the hub
//	send.go       from the device to the socket
//	handshakes.go the handshake queue, and which clients are let in
//	answer.go     the answers to initiations
//	login.go      passwords, outside of the packets' way
//	clock.go      what is done regularly, without a packet as its cause
//	arrive.go     how a client comes in: its first packet, or its password
//	leave.go      how a client is cut off (clock.go: idle; arrive.go: replaced)
//	reasons.go    what it is told
//	status.go     what an operator sees
//	events.go     what an operator is told
//
// Beside these: handshakeshares.go, for the order of service when many ask; askers.go,
// for many programs with the same key; psk.go, for clients with a pre-shared key of their
// own; entrance.go, for the server's key, of which step 8 may have several; foreign.go, for
// programs that others have written; probe.go, for messages whose length matters. drops.go names the reasons why packets are dropped.
//
// Sending to a client never waits for that client: a socket drops what it can't take. A
// socket with connections (package transport's over TCP) is told where the clients are, so
// that it keeps their connections.
//
// The cost of a packet does not depend on the number of clients, and a packet allocates
// nothing. One goroutine does the public-key operations, at a bounded rate, and two check
// passwords, of which package identity hashes one at a time; requests that find a queue full
// are dropped. The hub has no goroutine per client. (Over TCP, package transport has two for
// each connection.)
//
// What is not covered: an identity can have only one machine connected at a time, and
// only the addresses leased to it (no networks behind a client).
package hub

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
)

// A Queue is one socket and one TUN device. One goroutine reads from each. A hub may
// have several: see Shared.
type Queue struct{ Device, Socket link.Link }

// A Hub is a server of many clients. Run runs it; all other methods are safe for
// concurrent use.
type Hub struct {
	cfg       Config
	entrances []*entrance // for the server's keys, of which there is one before step 8
	count     *tunnel.Counters
	drops     *link.Drops
	start     time.Time

	broadcasts []netip.Addr // of the tunnel's networks

	table      *secure.Table // index → keypair → peer, which is a client's
	directory  directory
	handshakes chan handshake // the handshake queue...
	shares     shares         // ...and the shares of those who are there, and of others
	loadAt     atomic.Int64   // when the queue was last long; see clockOf
	logins     chan login
	left       chan struct{} // has an element if directory.left is not empty; holds one

	keepers []link.PeerKeeper // sockets; set before any client comes
}

// New checks a Config and returns a Hub without clients.
func New(cfg Config) (*Hub, error) {
	if cfg.Count == nil || cfg.Admission == nil {
		return nil, errors.New("hub: Config needs Count and Admission")
	}
	if cfg.MaxClients == 0 {
		cfg.MaxClients = DefaultMaxClients
	}
	if cfg.MaxClients < 1 || cfg.MaxClients > maxMaxClients {
		return nil, app.Usage("%d clients: a server has room for 1 to %d", cfg.MaxClients, maxMaxClients)
	}
	if cfg.Idle != 0 && cfg.Idle < minIdle {
		return nil, app.Usage("an idle time of %v is too short: clients show that they are alive every %v, so use at least %v",
			cfg.Idle, secure.DefaultKeepalive, minIdle)
	}
	entrances, err := newEntrances(cfg)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		broadcasts: broadcastsOf(cfg.Addrs),
		cfg:        cfg,
		entrances:  entrances,
		count:      cfg.Count,
		drops:      &cfg.Count.Drops,
		start:      time.Now(),
		table:      secure.NewTable(cfg.MaxClients + spareFor(cfg.MaxClients)/2), // spareFor: those who only ask
		handshakes: make(chan handshake, queueLength),
		logins:     make(chan login, loginQueue),
		left:       make(chan struct{}, 1),
	}
	h.shares.init()
	h.directory.init(cfg.MaxClients)
	return h, nil
}

// Run serves clients until stop ends, which is no error, or until a socket or a device
// fails. Before it returns, it tells the clients that the server is stopping, and closes
// all queues. It may be called only once.
func (h *Hub) Run(stop context.Context, queues ...Queue) error {
	ctx, fail := context.WithCancelCause(stop)
	defer fail(nil)
	var pumps, helpers sync.WaitGroup
	for _, q := range queues {
		if k, ok := q.Socket.(link.PeerKeeper); ok {
			h.keepers = append(h.keepers, k)
		}
	}
	for _, q := range queues {
		q := h.newQueue(q)
		pumps.Go(func() { fail(h.send(q)) })
		pumps.Go(func() { fail(h.receive(q)) })
	}
	helpers.Go(func() { h.answerHandshakes(ctx) })
	helpers.Go(func() { h.clock(ctx) })
	for range loginWorkers {
		helpers.Go(func() { h.checkLogins(ctx) })
	}

	<-ctx.Done()
	// A helper, too, may be stuck in a socket that accepts nothing.
	farewell := time.AfterFunc(farewellWithin, func() { closeAll(queues) })
	helpers.Wait()
	h.sayGoodbye()
	farewell.Stop()
	closeAll(queues)
	pumps.Wait()
	if stop.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func closeAll(queues []Queue) {
	for _, q := range queues {
		q.Socket.Close()
		q.Device.Close()
	}
}
