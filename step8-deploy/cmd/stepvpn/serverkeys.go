package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/rotation"
)

// This file chooses, in the client, by which of the server's public keys to ask the server:
// the newest that it has announced first, then older ones, down to server_key in the settings.

// A serverKeys says by which of its keys a client asks a server: by the newest that it has
// announced and, if there is no answer, by the next older one, down to the key in the settings;
// then it begins again. So neither a key change that is undone, nor a key that no server has
// announced, keeps a client out for long. It is not safe for concurrent use.
type serverKeys struct {
	own     noise.PublicKey
	learned []noise.PublicKey // the newest first
	tries   map[netip.AddrPort]int
	left    time.Time // when a session by an older key was last ended for the newest key
}

// of returns the key by which to ask a server.
func (k *serverKeys) of(server netip.AddrPort) noise.PublicKey {
	n := k.tries[server] % (len(k.learned) + 1)
	if n == len(k.learned) {
		return k.own
	}
	return k.learned[n]
}

// maxTried bounds how many addresses of servers are remembered: a hostile resolver may name
// others each time. When there are too many, all begin again.
const maxTried = 256

// failed records that a server has not answered by that key.
func (k *serverKeys) failed(server netip.AddrPort) {
	if k.tries == nil || len(k.tries) >= maxTried {
		k.tries = make(map[netip.AddrPort]int)
	}
	k.tries[server]++
}

// leaveEvery is the shortest time between two sessions that are ended for the newest key.
const leaveEvery = 10 * time.Minute

// reached records that a server has answered by the key by, and has announced next. It returns
// the keys to use from then on. leave is true if next was known before: then the server has
// not answered by that key only because it was down, and may do so now.
func (k *serverKeys) reached(server netip.AddrPort, by, next noise.PublicKey, now time.Time) (keys []noise.PublicKey, leave bool, err error) {
	delete(k.tries, server)
	keys, err = rotation.After(k.own, k.learned, by, next)
	if err != nil || len(k.learned) == 0 || next != k.learned[0] || !k.left.IsZero() && now.Sub(k.left) < leaveEvery {
		return keys, false, err
	}
	k.left = now
	return keys, true, nil
}

var errNewerKey = errors.New("the server has a newer key: asking again by that one")

// learn makes the keeper remember what the settings of a session say about the server's keys,
// if it does not know that already. It reports whether the session is to be ended for one by
// a newer key. Errors here do not end the session.
func (n *node) learn(server netip.AddrPort, by noise.PublicKey, settings []byte) (leave bool) {
	next, err := rotation.Parse(settings)
	var keys []noise.PublicKey
	if err == nil {
		keys, leave, err = n.keys.reached(server, by, next, time.Now())
	}
	if err == nil && !slices.Equal(keys, n.keys.learned) {
		err = n.keeper.Learn(by, next)
	}
	if err != nil {
		slog.Warn("the server's next key can't be used", "error", err)
	}
	return leave
}
