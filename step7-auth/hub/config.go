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
