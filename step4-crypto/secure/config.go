package secure

import (
	"errors"
	"fmt"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A Config is what Client and Server need to know.
type Config struct {
	// Handshake names the suite and the pattern and holds the keys. Initiator
	// and Prologue are set by this package. The first message of the pattern
	// must begin with the ephemeral key, as that of NNpsk0 and of IK does.
	Handshake noise.Config
	// Other, if set, is a second handshake with the same static key that clients of a
	// Responder may use instead, with or without a pre-shared key: see psk.go, for step 8.
	Other *noise.Config

	// Payload goes to the other side, encrypted, in our message of every
	// handshake. It has at most MaxPayload bytes. In step 6 the server puts settings
	// into it, and from then on OnPayload is in use, too.
	Payload []byte
	// NewPayload, if set, makes the payload anew for every handshake. A test of step 7
	// plays a server that needs it.
	NewPayload func() []byte
	// OnPayload, if set, gets the other side's payload in every handshake. If it
	// returns an error, the other side is refused: a server sends the client no answer,
	// and a client ends its Conn. It must not call the Conn. On a server a payload can
	// be a replay, so OnPayload must not change anything that matters.
	OnPayload func(payload []byte) error
	// OnControl, if set, gets the control messages that the other side sends in
	// the session. It is called by the goroutine that reads from the Conn, and must not
	// block or keep the content. An error ends the Conn. Step 7's login is made of them.
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

	// Format, if set, is that of programs that others have written: see format.go, for a
	// chapter after step 8.
	Format *Format

	handshake *noise.Handshake // has not begun, and is cloned for each handshake
	other     *noise.Handshake // likewise
	older     *noise.Handshake // likewise, for clients of the previous version; nil if there are none
	limits    limits
}

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
	cfg.Handshake.Prologue = []byte(cfg.Format.prologue())
	err := cfg.Format.check(&cfg)
	if err != nil {
		return nil, err
	}
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
	if cfg.Format == nil {
		if cfg.older, err = older(cfg.Handshake); err != nil {
			return nil, err
		}
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
		cfg.limits = cfg.Format.limits()
	}
	return &cfg, nil
}

func errPayload(payload []byte) error {
	return fmt.Errorf("secure: a payload has at most %d bytes, not %d", MaxPayload, len(payload))
}

// prologue binds the handshake to this version of the protocol: a side that speaks
// another version derives other keys, so its messages do not authenticate. Increase the
// number whenever a message changes.
const prologue = "stepvpn secure 3"
