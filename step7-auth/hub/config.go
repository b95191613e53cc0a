package hub

import (
	"context"
	"net/netip"
	"time"

	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
)

// This file has what the hub and its caller agree on: Config, and the interfaces Admission
// (who may come in) and Session (a client, as the caller sees it). At its end are the hub's
// own limits.

// A Config is what a hub needs to know.
type Config struct {
	// Handshake names the suite and a pattern in which the client sends its
	// static key, IK or IKpsk2, and holds the server's keys.
	Handshake noise.Config
	// Other, if set, has the other one of these patterns, for clients whose Account asks
	// for it. Step 8 sets it (see psk.go), and Entrances: other keys of the server, which
	// clients may use as well, at most 3.
	Other     *noise.Config
	Entrances []Entrance
	// Addrs are the addresses of the server itself in the tunnel, with the
	// length of the tunnel's network.
	Addrs []netip.Prefix
	// Settings are sent to each client, unchanged, with its addresses. They have at most
	// protocol.MaxSettings bytes.
	Settings []byte
	// MTU is the length, in bytes, of the longest packet that the path to a client is assumed
	// to carry until Session.SetMTU is called: see secure.Config.
	MTU int

	Admission Admission
	// Check, if set, looks at each initiation before any public-key operation is
	// done for it. It returns the initiation without what was added to it, or nil, and a
	// message to send back, or nil. It must count what it drops. underLoad says that
	// initiations come faster than they can be answered; present says that a connected
	// client is at that address.
	Check func(message []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte)
	// Control, if set, gets the control messages of kinds from protocol.FirstKind
	// on, of clients whose packets may pass. It is called while packets wait, so it must
	// be fast, and it must not keep the content. It returns false if there is no such
	// message, which is then counted as malformed. Step 8 measures the path's MTU by such
	// messages, and needs Session for that.
	Control func(from Session, kind byte, content []byte) bool
	// Ended, if set, is called when a client whose packets have passed has left, or another
	// machine has taken its place, with what Snapshot would have said of it last. It is called
	// while packets wait, so it must be fast. It is not called for the clients that are there
	// when Run ends: Snapshot still has them then.
	Ended func(Status)
	// Events, if set, is told what happens to clients, in the order in which it happens. It is
	// called while packets wait, so it must be fast, and it must not call the hub.
	Events func(Event)

	MaxClients     int           // clients at the same time; 0 means DefaultMaxClients
	ClientToClient bool          // let packets pass from one client to another
	Idle           time.Duration // cut off a client that was silent for this long; 0: when its keys expire, after 180 s

	Count *tunnel.Counters // required
}

// An Admission decides which clients may come in, and with which addresses. The hub may
// call its methods at any time while it runs, and Lookup from several goroutines at once.
type Admission interface {
	// Lookup returns the account that a key belongs to. It must be fast.
	Lookup(key noise.PublicKey) (Account, bool)
	// Lease gives an identity its addresses, the same ones for as long as it holds
	// them. It is called by one goroutine at a time. The client is told the error if that
	// is a *secure.Rejected, and otherwise only that there is no address.
	Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error)
	// Left is called with the clients that have left, and do not use their addresses any
	// more. (Others may get these when the pool's grace time is over.) It may take a while, and is called at most twice per second. It is never
	// called for an identity that is connected (again), nor at the same time as Lease. It
	// is not called for the clients that are connected when Run ends.
	Left([]Gone)
	// Login checks a password. It may be slow. The client is told the error; if it is a
	// *secure.Rejected, it also says whether the client may try again.
	Login(ctx context.Context, key noise.PublicKey, from Source, user, password string) error
}

// An Account is what the server's registry says about an identity.
type Account struct {
	Name          string
	Expires       time.Time // zero: never
	NeedsPassword bool
	FixedAddrs    bool // it has addresses of its own in the registry

	OwnPSK bool                // it has a pre-shared key of its own, see psk.go...
	PSK    *[noise.KeyLen]byte // ...which is this one; nil: the server does not know it
}

// A Gone is a client that has left.
type Gone struct {
	Key   noise.PublicKey
	Name  string
	Addrs []netip.Addr
	In    bool   // its packets passed; false if it has only asked
	By    string // as in Status
}

// A Source says where a password comes from: the program's instance number (see
// protocol.Hello), and the address from which it asked to come in. The program has proved
// that it receives what is sent to that address.
type Source struct {
	Instance uint64
	Addr     netip.Addr
}

// A Session is a client's session, as Config.Control sees it. Its methods are safe for
// concurrent use.
type Session interface {
	// Control sends a control message to the client.
	Control(kind byte, content []byte)
	// SetMTU says how long a packet the path to the client carries, in bytes.
	SetMTU(mtu int)
	// Probe is Control for a message whose length matters: see secure.Conn.Probe. Probes
	// beyond 128 at once and 16 per second are dropped.
	Probe(kind byte, content []byte)
	// Addrs returns the addresses that the client was given. The caller must not change
	// them.
	Addrs() []netip.Addr
}

// The limits.
const (
	DefaultMaxClients = 250   // a /24 network has room for 253
	maxMaxClients     = 65536 // the table for this many takes 8 MB
	minIdle           = 60 * time.Second

	handshakesPerSecond = 500  // on average; they take about 15 % of one processor
	handshakesAtOnce    = 1000 // as after a restart, when all clients come back
	queueLength         = 1024 // waiting initiations, each of at most maxInitiation bytes
	maxInitiation       = 256
	queueWait           = 300 * time.Millisecond // an older initiation is dropped: its sender will soon ask again
	loadQueue           = queueLength / 8        // if more than this many wait, the server is under load...
	loadFor             = time.Second            // ...and for this long afterwards

	loginWorkers = 2                // goroutines for logins; of passwords, identity hashes one at a time
	loginQueue   = 64               // logins that wait
	loginWithin  = 60 * time.Second // a client that has not logged in by then is cut off
	maxLogins    = 3                // wrong passwords in one session

	// pendingFor is how long a client that was let in may take until its first packet,
	// which proves that its initiation was no replay.
	pendingFor = 10 * time.Second
	// maxAhead is how far a client's clock may be ahead of the server's. A time beyond
	// that is not believed.
	maxAhead = 24 * time.Hour
	// forgetAfter is how long an identity's newest initiation is remembered.
	forgetAfter = 10 * time.Minute
	// helloInterval is how long a client must wait after a handshake before the next, so
	// that one client can't use up the server's handshakes.
	helloInterval = 50 * time.Millisecond

	clockInterval  = 500 * time.Millisecond
	farewellWithin = time.Second // to end the goroutines, and to tell all clients that the server is stopping
)
