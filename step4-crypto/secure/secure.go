// Package secure carries packets through an encrypted session: a Link around a
// Link. Introduced in step 4.
//
// Two sides agree on keys by a Noise handshake (package noise): the client asks and the
// server answers. Then every packet is sealed: encrypted, authenticated and numbered.
// Where it fits, the design is WireGuard's (J. Donenfeld, "WireGuard: Next Generation
// Kernel Network Tunnel", NDSS 2017).
//
// Each file is one idea:
//
//	message.go    the three kinds of messages, byte by byte
//	content.go    the content of data messages: packets, and control messages
//	window.go     which packets have been seen before
//	keypair.go    one pair of keys: seal and open packets
//	table.go      which keypair a message is for
//	keyring.go    the keys that are valid at one moment, and how new ones come into use
//	payload.go    what a handshake carries
//	initiator.go  the client's side of a handshake
//	responder.go  the server's side
//	acceptor.go   which initiations a server of one client answers
//	peer.go       the other side: its keys and its address
//	timers.go     what a peer does by itself: rekeying, keepalives, expiry
//	control.go    how one side tells the other that the session ends
//	bursts.go     seal and open the packets of a burst
//	conn.go       the Link: one peer, and a socket
//
// Beside these: older.go, for clients that have not been updated yet; psk.go, for
// clients that have a pre-shared key of their own; and probe.go, for messages whose length
// matters. drops.go lists the reasons why messages are dropped.
//
// All files but conn.go and probe.go are free of input, output and clocks: messages and
// the time are passed as arguments.
//
// These are the limits. Those that must be the same on both sides are marked with *.
//
//	rekeyAfterTime        120 s   the client asks for new keys when they are this old
//	rekeyAfterPackets     2^28    or when one side has sent this many packets under them
//	rejectAfterTime       180 s   keys this old neither seal nor open any more
//	rejectAfterPackets *  2^29    counters from here on neither seal nor open
//	keepPrevious          30 s    packets under the old keys are still accepted for this long
//	replyWithin           3 s     a side that received packets and sent none for this long
//	                              sends a keepalive
//	silenceLimit          6 s     a client that sent packets and heard nothing for this long
//	                              asks for new keys: the server may have restarted
//	DefaultKeepalive      25 s    a client that sent nothing for this long sends a keepalive
//	firstRetry, maxRetry  0.5 s   the wait for the answer to an initiation; it doubles each
//	                      to 5 s  time, up to the maximum, and varies by up to 20 %
//	DefaultTries          6       a first connection is given up after this many initiations
//	lostTries             4       after this many a client reports that the server is lost
//	MaxPayload *          1024    bytes that a handshake message carries for other packages
//	answersPerSecond      100     initiations that are answered with "too old" in a second
//	forgetAfter           10 min  the time of an initiation is remembered for this long
//	windowSize            8192    a packet that is overtaken by this many is dropped
//	closeWait             0.2 s   a Close that can't send its message gives up after this long
//	MaxReason *           200     bytes of a reason that one side gives the other
//	logMoveAfter          10 s    a change of the peer's address is logged no more often,
//	logOlderAfter         60 s    and neither is an older client, or a refused one
//
// 2^28 packets of 1,500 bytes are 2^34.5 AES blocks. RFC 8446, section 5.5, sets the same
// limit for an AES-GCM key.
package secure

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// Defaults of Config.
const (
	DefaultTries     = 6
	DefaultKeepalive = 25 * time.Second
)

const (
	rekeyAfterTime     = 120 * time.Second
	rekeyAfterPackets  = 1 << 28
	rejectAfterTime    = 180 * time.Second
	rejectAfterPackets = 1 << 29
	keepPrevious       = 30 * time.Second

	replyWithin  = 3 * time.Second
	silenceLimit = 6 * time.Second

	firstRetry = 500 * time.Millisecond
	maxRetry   = 5 * time.Second
	lostTries  = 4

	logMoveAfter  = 10 * time.Second
	logOlderAfter = time.Minute

	answersPerSecond = 100
	forgetAfter      = 10 * time.Minute
)

// prologue binds the handshake to this version of the protocol: a side that speaks
// another version derives other keys, so its messages do not authenticate. Increase the
// number whenever a message changes.
const prologue = "stepvpn secure 3"

// A Config is what Client and Server need to know.
type Config struct {
	// Handshake names the suite and the pattern and holds the keys. Initiator
	// and Prologue are set by this package. The first message of the pattern
	// must begin with the ephemeral key, as that of NNpsk0 and of IK does.
	Handshake noise.Config
	// Other, if set, is a second handshake with the same static key that clients of a
	// Responder may use instead, with or without a pre-shared key: see psk.go.
	Other *noise.Config

	// Payload goes to the other side, encrypted, in our message of every
	// handshake. It has at most MaxPayload bytes.
	Payload []byte
	// NewPayload, if set, makes the payload anew for every handshake.
	NewPayload func() []byte
	// OnPayload, if set, gets the other side's payload in every handshake. If it
	// returns an error, the other side is refused: a server sends the client no answer,
	// and a client ends its Conn. It must not call the Conn. On a server a payload can
	// be a replay, so OnPayload must not change anything that matters.
	OnPayload func(payload []byte) error
	// OnControl, if set, gets the control messages that the other side sends in
	// the session. It is called by the goroutine that reads from the Conn, and must not
	// block or keep the content. An error ends the Conn.
	OnControl func(kind byte, content []byte) error

	// Drops counts the packets and messages that are dropped. Required.
	Drops *link.Drops

	// Tries is how many times a client asks before a first connection is given
	// up. 0 means DefaultTries.
	Tries int
	// Keepalive is how long a client is silent before it sends a keepalive, so
	// that a NAT on the way does not forget it. 0 means DefaultKeepalive, and a
	// negative value switches it off.
	Keepalive time.Duration

	// MTU is the length in bytes of the longest packet that the path carries. Packets
	// are padded to a multiple of 16 bytes up to it, and not beyond. 0 means that
	// nothing is padded.
	MTU int

	handshake *noise.Handshake // has not begun, and is cloned for each handshake
	other     *noise.Handshake // likewise
	older     *noise.Handshake // likewise, for clients of the previous version
	limits    limits
}

// limits are the limits that tests make smaller.
type limits struct {
	rekeyTime     time.Duration
	rekeyPackets  uint64
	rejectPackets uint64
	jitter        func() float64 // a random number from 0 up to 1
}

var defaultLimits = limits{rekeyAfterTime, rekeyAfterPackets, rejectAfterPackets, rand.Float64}

// complete checks a Config for one of the two roles and fills in the defaults.
func (cfg Config) complete(initiator bool) (*Config, error) {
	if cfg.Drops == nil {
		return nil, errors.New("secure: Config.Drops is missing")
	}
	if cfg.Tries < 0 {
		return nil, fmt.Errorf("secure: %d tries: at least 1 is needed", cfg.Tries)
	}
	if len(cfg.Payload) > MaxPayload {
		return nil, errPayload(cfg.Payload)
	}
	cfg.Handshake.Initiator = initiator
	cfg.Handshake.Prologue = []byte(prologue)
	var err error
	if cfg.handshake, err = noise.New(cfg.Handshake); err != nil {
		return nil, err
	}
	if cfg.Other != nil {
		other := *cfg.Other
		other.Prologue = cfg.Handshake.Prologue
		if cfg.other, err = noise.New(other); err != nil {
			return nil, err
		}
	}
	if cfg.older, err = older(cfg.Handshake); err != nil {
		return nil, err
	}
	if cfg.NewPayload == nil {
		cfg.NewPayload = func() []byte { return cfg.Payload }
	}
	if cfg.OnPayload == nil {
		cfg.OnPayload = func([]byte) error { return nil }
	}
	if cfg.Tries == 0 {
		cfg.Tries = DefaultTries
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = DefaultKeepalive
	}
	if cfg.limits.jitter == nil {
		cfg.limits = defaultLimits
	}
	return &cfg, nil
}

func errPayload(payload []byte) error {
	return fmt.Errorf("secure: a payload has at most %d bytes, not %d", MaxPayload, len(payload))
}
