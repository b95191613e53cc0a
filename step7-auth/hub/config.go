package hub

import (
	"context"
	"net/netip"
	"time"

	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
)

// The limits.
const (
	DefaultMaxClients = 250   // a /24 network has room for 253
	maxMaxClients     = 65536 // the table of this many takes 8 MB
	minIdle           = 60 * time.Second

	handshakesPerSecond = 500  // on average; some 15 % of one processor
	handshakesAtOnce    = 1000 // as after a restart, when all clients come back
	queueLength         = 1024 // initiations that wait, each of up to maxInitiation bytes
	maxInitiation       = 256
	queueWait           = 300 * time.Millisecond // after that its sender will soon ask anew
	loadQueue           = queueLength / 8        // with more that wait, the server is under load...
	loadFor             = time.Second            // ...and for so long after that

	loginWorkers = 2                // passwords checked at the same time
	loginQueue   = 64               // that wait
	loginWithin  = 60 * time.Second // a client that has not logged in by then is cut off
	maxLogins    = 3                // wrong passwords in one session

	// pendingFor is how long a client that was let in may take for its first
	// packet. It has proven by then that it is there now.
	pendingFor = 10 * time.Second
	// maxAhead is how far a client's clock may be ahead of the server's, to be believed.
	maxAhead = 24 * time.Hour
	// forgetAfter is how long an identity's newest initiation is remembered.
	forgetAfter = 10 * time.Minute
	// helloInterval is how long a client waits after a handshake before the
	// next. So one client can't use up the server's handshakes.
	helloInterval = 50 * time.Millisecond

	clockInterval  = 500 * time.Millisecond
	farewellWithin = time.Second // for ending what is going on, and telling all clients that the server stops
)

// An Account is what the server's registry says of an identity.
type Account struct {
	Name          string
	Expires       time.Time // zero: never
	NeedsPassword bool

	OwnPSK bool                // it has a pre-shared key of its own, see psk.go...
	PSK    *[noise.KeyLen]byte // ...which is this one; nil: the server does not know it
}

// A Gone is a client that has left.
type Gone struct {
	Key   noise.PublicKey
	Name  string
	Addrs []netip.Addr
	In    bool // its packets passed until now, or it has only asked
	Next  bool // as in Status
}

// An Admission decides who may come in, and with which addresses. Its methods may be
// called at any time while the hub runs, and Lookup by several goroutines at once.
type Admission interface {
	// Lookup tells whose key it is. It must be fast.
	Lookup(key noise.PublicKey) (Account, bool)
	// Lease gives an identity its addresses, the same ones as long as it holds
	// them. It is called by one goroutine at a time. The client is told an error
	// that is a *secure.Rejected, and of others that there is no address.
	Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error)
	// Left is told who has left: the addresses can be given to others. It may take
	// a while, and is called twice a second at most. It is never called for an
	// identity that is there (again), and not at the same time as Lease. It is not
	// called for those who are there when Run ends.
	Left([]Gone)
	// Login checks a password. It may be slow. The client is told its error; one
	// that is a *secure.Rejected says whether it is final.
	Login(ctx context.Context, key noise.PublicKey, from Source, user, password string) error
}

// A Source is which program gives a password, by the number that it has chosen, and the
// address where it was when it asked to come in. It has proved that it gets what is
// sent there.
type Source struct {
	Instance uint64
	Addr     netip.Addr
}

// A Config is what a hub needs to know.
type Config struct {
	// Handshake names the suite and a pattern in which the client sends its
	// static key, IK or IKpsk2, and holds the server's keys.
	Handshake noise.Config
	// Other, if set, is the other one of the two, for clients whose Account says so.
	Other *noise.Config
	// Next, if set, is another key of the server, by which clients may come as well.
	Next *Key
	// Addrs are the addresses of the server itself in the tunnel, with the
	// length of the tunnel's network.
	Addrs []netip.Prefix
	// Settings go to each client with its addresses, as they are. At most
	// protocol.MaxSettings bytes.
	Settings []byte
	// MTU is how long a packet, in bytes, the path to a client is taken to carry, until
	// Session.SetMTU says it: see secure.Config.
	MTU int

	Admission Admission
	// Check, if set, looks at each initiation before any public-key operation is
	// done for it. It returns the initiation without what was added to it, or nil,
	// and a message to send back, or nil. It must count what it drops. underLoad
	// says that initiations come faster than they can be answered, and present that a
	// client is there at that address.
	Check func(message []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte)
	// Control, if set, gets the control messages of kinds from protocol.FirstKind
	// on, of clients that have done all that it takes to be let in. It is called while
	// packets wait, and must not keep the content. It reports false if there is no such
	// message: then it is counted as malformed.
	Control func(from Session, kind byte, content []byte) bool

	MaxClients     int           // clients at the same time; 0 means DefaultMaxClients
	ClientToClient bool          // let packets pass from one client to another
	Idle           time.Duration // cut off who was silent for so long; 0: when its keys end, after 180 s

	Count *tunnel.Counters // required
}

// A Session is that of a client, as Config.Control sees it.
type Session interface {
	// Control sends a control message to the client.
	Control(kind byte, content []byte)
	// SetMTU says how long a packet the path to the client carries, in bytes.
	SetMTU(mtu int)
	// Probe is Control for a message whose length matters: see secure.Conn.Probe. One too
	// many is dropped.
	Probe(kind byte, content []byte)
	// Addrs are the addresses that the client has been given. They are not to be changed.
	Addrs() []netip.Addr
}
