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
//	hub.go      what the hub needs, and how it runs
//	table.go    index → client, without a lock
//	client.go   one client, from its first initiation to its end
//	members.go  who is there: identity → client, address → client
//	receive.go  from the socket to the device
//	send.go     from the device to the socket
//	door.go     who is let in
//	login.go    passwords, outside of the packets' way
//	clock.go    what is done without being asked
//	leave.go    how a client goes: cut off, replaced, idle
//	status.go   what an operator sees
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
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// The limits.
const (
	DefaultMaxClients = 250   // a /24 network has room for 253
	maxMaxClients     = 65536 // the table of this many takes 8 MB
	minIdle           = 60 * time.Second

	handshakesPerSecond = 500  // on average; some 15 % of one processor
	handshakesAtOnce    = 1000 // as after a restart, when all clients come back
	knockQueue          = 1024 // initiations that wait, each of up to maxInitiation bytes
	maxInitiation       = 256
	knockWait           = 300 * time.Millisecond // after that its sender will soon ask anew
	loadQueue           = knockQueue / 8         // with more that wait, the server is under load...
	loadFor             = time.Second            // ...and for so long after that

	loginWorkers = 2                // passwords checked at the same time
	loginQueue   = 64               // that wait
	loginWithin  = 60 * time.Second // a client that has not logged in by then is cut off
	maxLogins    = 3                // wrong passwords in one session

	loggedRefusals = 5 // in each clockInterval

	// pendingFor is how long a client that was let in may take for its first
	// packet. It has proven by then that it is there now.
	pendingFor = 10 * time.Second
	// forgetAfter is how long a hello's time is remembered after the last
	// handshake of an identity. A machine whose clock has gone back is kept out
	// for so long.
	forgetAfter = 10 * time.Minute

	clockInterval  = 500 * time.Millisecond
	farewellWithin = time.Second // for telling all clients that the server stops
)

// An Account is what the server's registry says of an identity.
type Account struct {
	Name          string
	Expires       time.Time // zero: never
	NeedsPassword bool
}

// A Gone is a client that has left.
type Gone struct {
	Key   noise.PublicKey
	Name  string
	Addrs []netip.Addr
}

// A Config is what a hub needs to know. The functions may be called at any time
// while Run runs, and Lookup by several goroutines at once.
type Config struct {
	// Handshake names the suite and a pattern in which the client sends its
	// static key, IK or IKpsk2, and holds the server's keys.
	Handshake noise.Config
	// Addrs are the addresses of the server itself in the tunnel, with the
	// length of the tunnel's network.
	Addrs []netip.Prefix
	// Settings go to each client with its addresses, as they are. At most
	// greet.MaxSettings bytes.
	Settings []byte

	// Lookup tells whose key it is. It must be fast.
	Lookup func(key noise.PublicKey) (Account, bool)
	// Lease gives an identity its addresses, the same ones as long as it holds
	// them. It is called by one goroutine at a time. The client is told an error
	// that is a *secure.Rejected, and of others that there is no address.
	Lease func(key noise.PublicKey, now time.Time) ([]netip.Prefix, error)
	// Left, if set, is told who has left: the addresses can be given to others.
	// It is never called for an identity that is there (again), and not at the
	// same time as Lease. It is not called for those who are there when Run ends.
	Left func([]Gone)
	// Login checks a password. It may be slow. The client is told its error; one
	// that is a *secure.Rejected says whether it is final. Required if an account
	// can need a password.
	Login func(ctx context.Context, key noise.PublicKey, user, password string) error
	// Check, if set, looks at each message that is no packet of a session before
	// any public-key operation is done for it. It returns the initiation, or
	// nil, and a message to send back, or nil. It must count what it drops.
	// underLoad says that initiations come faster than they can be answered.
	Check func(message []byte, from netip.AddrPort, underLoad bool, now time.Time) (initiation, reply []byte)

	MaxClients     int           // clients at the same time; 0 means DefaultMaxClients
	ClientToClient bool          // let packets pass from one client to another
	Idle           time.Duration // cut off who was silent for so long; 0: when its keys end, after 180 s

	Count *tunnel.Counters // required
}

// A Queue is one socket and one TUN device, or one queue of each: a hub may have
// several. One goroutine reads from the device and one from the socket.
type Queue struct {
	Device, Socket link.Link
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

	refusals int // logged since the last refill; the door's own
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
	helpers.Wait()
	farewell := time.AfterFunc(farewellWithin, func() { closeAll(queues) })
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
