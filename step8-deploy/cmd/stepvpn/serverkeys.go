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

// A serverKeys says by which of its keys a server is asked: by the newest that it has told, and
// when it does not answer, by the next older one, down to that of the settings, and so on from
// the beginning. So neither a change that is taken back, nor a key that nobody has told, keeps a
// client out for long. It is for one goroutine.
type serverKeys struct {
	own     noise.PublicKey
	learned []noise.PublicKey // the newest first
	tries   map[netip.AddrPort]int
	left    time.Time // when a session by an older key was left for the newest one last
}

// of returns the key to ask a server by.
func (k *serverKeys) of(server netip.AddrPort) noise.PublicKey {
	n := k.tries[server] % (len(k.learned) + 1)
	if n == len(k.learned) {
		return k.own
	}
	return k.learned[n]
}

// failed notes that a server has not answered by that key.
func (k *serverKeys) failed(server netip.AddrPort) {
	if k.tries == nil {
		k.tries = make(map[netip.AddrPort]int)
	}
	k.tries[server]++
}

// leaveEvery bounds how often a session by an older key is left for the newest one.
const leaveEvery = 10 * time.Minute

// reached notes that a server has answered by a key, and what it has told is its next one. It
// returns the keys that there are by that. It reports true if the next one is among those that
// there were: the server was just not there when it was asked by it, and now can be.
func (k *serverKeys) reached(server netip.AddrPort, by, next noise.PublicKey, now time.Time) (keys []noise.PublicKey, leave bool, err error) {
	delete(k.tries, server)
	keys, err = rotation.After(k.own, k.learned, by, next)
	if err != nil || len(k.learned) == 0 || next != k.learned[0] || !k.left.IsZero() && now.Sub(k.left) < leaveEvery {
		return keys, false, err
	}
	k.left = now
	return keys, true, nil
}

var errNewerKey = errors.New("the server has a newer key, by which it is asked again")

// learn has the keeper remember what the settings of a session tell about the server's keys, if
// it does not know that already. It reports true if the session is to be left for one by a
// newer key. What goes wrong here is not worth the end of a session.
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
		slog.Warn("the server's next key is not taken over", "error", err)
	}
	return leave
}
