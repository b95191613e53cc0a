package secure

import (
	"math/rand/v2"
	"time"
)

// The limits of a session. Those that must be the same on both sides are marked with *.
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

// Defaults of Config.
const (
	DefaultTries     = 6
	DefaultKeepalive = 25 * time.Second
)

// limits are the limits that tests make smaller, or that a Format sets.
type limits struct {
	rekeyTime     time.Duration
	rekeyPackets  uint64
	rejectPackets uint64
	keepPrevious  time.Duration
	replyWithin   time.Duration
	silence       time.Duration
	jitter        func() float64 // a random number from 0 up to 1
}

var defaultLimits = limits{rekeyAfterTime, rekeyAfterPackets, rejectAfterPackets, keepPrevious, replyWithin, silenceLimit, rand.Float64}
