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
//	initiations: cookie check → bounded queue → door → lookup, lease → answer
//
// Read it in this order. Each file is one idea:
//
//	config.go     what the hub needs, and its limits
//	hub.go        how it runs
//	table.go      index → client, without a lock
//	client.go     one client, from its first initiation to its end
//	member.go     what is known of one identity
//	members.go    who is there: identity → client, address → client
//	receive.go    from the socket to the device
//	addresses.go  what an address is to the hub
//	send.go       from the device to the socket
//	door.go       who is let in
//	answer.go     what who asks is told
//	login.go      passwords, outside of the packets' way
//	clock.go      what is done without being asked
//	leave.go      how a client goes: cut off, replaced, idle
//	status.go     what an operator sees
//
// Nothing that is sent to a client waits for it: a socket drops what it can't take. A
// socket with connections (package transport's over TCP) is told where the clients
// are, so that it keeps theirs.
//
// The cost of a packet does not depend on the number of clients, and a packet
// allocates nothing. Public-key operations are done by one goroutine, at a
// bounded rate, and passwords are checked by two; what finds their queues full is
// dropped. There is no goroutine per client.
//
// What is not covered: a client gets one machine at a time, and no more than the
// addresses leased to it (no networks behind a client).
package hub

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// A Queue is one socket and one TUN device, or one queue of each: a hub may have
// several. One goroutine reads from the device and one from the socket.
//
// The kernel chooses by which queue of the device a packet for a client comes. It is
// sent by the socket beside it, if that has the Listener of the one that the client
// came to; else by that one.
type Queue struct {
	Device, Socket link.Link

	// Listener is the same number for sockets that reach the same clients: those of
	// UDP that share an address and port. Each other socket has its own number.
	Listener int
}

// A Hub is a server of many clients. Run runs it; all other methods are safe for
// concurrent use.
type Hub struct {
	cfg       Config
	responder *secure.Responder
	count     *tunnel.Counters
	drops     *link.Drops
	start     time.Time

	broadcasts []netip.Addr // of the tunnel's networks

	table   table
	members members
	knocks  chan knock
	loadAt  atomic.Int64 // when knocks was long last; see clockOf
	logins  chan login
	left    chan struct{} // there is something in members.left; holds one

	keepers []link.PeerKeeper // sockets; set before anybody comes

	refusals int // logged in the present logInterval; the door's own
}

// New checks a Config and returns a Hub without clients.
func New(cfg Config) (*Hub, error) {
	if cfg.Count == nil || cfg.Lookup == nil || cfg.Lease == nil {
		return nil, errors.New("hub: Config needs Count, Lookup and Lease")
	}
	if cfg.MaxClients == 0 {
		cfg.MaxClients = DefaultMaxClients
	}
	if cfg.MaxClients < 1 || cfg.MaxClients > maxMaxClients {
		return nil, app.Usage("%d clients: a server has room for 1 to %d", cfg.MaxClients, maxMaxClients)
	}
	if cfg.Idle != 0 && cfg.Idle < minIdle {
		return nil, app.Usage("an idle time of %v is too short: clients say that they are there every %v, so use at least %v",
			cfg.Idle, secure.DefaultKeepalive, minIdle)
	}
	if len(cfg.Settings) > greet.MaxSettings {
		return nil, fmt.Errorf("the settings for the clients take %d bytes, and there is room for %d", len(cfg.Settings), greet.MaxSettings)
	}
	responder, err := secure.NewResponder(secure.Config{Handshake: cfg.Handshake, Drops: &cfg.Count.Drops})
	if err != nil {
		return nil, err
	}
	h := &Hub{
		broadcasts: broadcastsOf(cfg.Addrs),
		cfg:        cfg,
		responder:  responder,
		count:      cfg.Count,
		drops:      &cfg.Count.Drops,
		start:      time.Now(),
		knocks:     make(chan knock, knockQueue),
		logins:     make(chan login, loginQueue),
		left:       make(chan struct{}, 1),
	}
	h.table.init(cfg.MaxClients)
	h.members.init()
	return h, nil
}

// Run serves clients until stop ends, which is no error, or until a socket or a
// device fails. It has told the clients and closed all queues when it returns.
// It may be called once.
func (h *Hub) Run(stop context.Context, queues ...Queue) error {
	ctx, fail := context.WithCancelCause(stop)
	defer fail(nil)
	var ends, helpers sync.WaitGroup
	for _, q := range queues {
		if k, ok := q.Socket.(link.PeerKeeper); ok {
			h.keepers = append(h.keepers, k)
		}
	}
	for _, q := range queues {
		e := newEnds(q)
		ends.Go(func() { fail(h.send(e)) })
		ends.Go(func() { fail(h.receive(e)) })
	}
	helpers.Go(func() { h.door(ctx) })
	helpers.Go(func() { h.clock(ctx) })
	for range loginWorkers {
		helpers.Go(func() { h.checkLogins(ctx) })
	}

	<-ctx.Done()
	// A helper too may be stuck in a socket that takes nothing.
	farewell := time.AfterFunc(farewellWithin, func() { closeAll(queues) })
	helpers.Wait()
	h.sayGoodbye()
	farewell.Stop()
	closeAll(queues)
	ends.Wait()
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
