package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/rotation"
)

// A server that changes its key tells the next one to its clients (see package rotation). The
// worker hears it, and the keeper remembers it, for the next start too. What the keeper can't see
// is whether a server has said that at all. So what it remembers is only ever a key to be tried
// first: when no server is reached by it, that of the settings is tried again, and whatever is
// remembered counts no more when the settings name another one.

// A lesson is what a server has told that was reached by one of its keys.
type lesson struct {
	By   noise.PublicKey
	Next noise.PublicKey // zero: that it changes to none
}

// lessons bounds how often there is news, and so what is written to the disk and to the log.
type lessons struct {
	since time.Time
	n     int
}

const maxLessons = 8 // an hour

func (l *lessons) allow(now time.Time) bool {
	if now.Sub(l.since) >= time.Hour {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= maxLessons
}

// learn remembers what a server has told, and has the worker take new settings if that is
// news.
func (k *Client) learn(c *privsep.Conn) privsep.Handler {
	return func(parse func(any) error) (r privsep.Result, err error) {
		var l lesson
		if err := parse(&l); err != nil {
			return r, err
		}
		news, err := k.remember(l)
		if news && err == nil {
			c.Tell(eventReload, nil)
		}
		return r, err
	}
}

func (k *Client) remember(l lesson) (news bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	own, known := k.told.Identity.ServerKey, k.told.Learned
	keys, err := rotation.After(own, known, l.By, l.Next)
	if err != nil {
		return false, err
	}
	if slices.Equal(keys, known) {
		return false, nil
	}
	if !k.lessons.allow(time.Now()) {
		return false, errors.New("the server's keys change too often to be remembered")
	}
	if err := rotation.Save(k.cfg.State, own, keys); err != nil {
		return false, fmt.Errorf("the keys that the server has told can't be remembered: %w", err)
	}
	told := new(*k.told)
	told.Learned = keys
	k.told = told
	if l.Next != (noise.PublicKey{}) {
		slog.Info("the server changes its key: it is reached by the next one from now on", "key", noise.FormatKey(l.Next))
	} else {
		slog.Info("of the server's keys that were told, some do not count any more", "left", len(keys))
	}
	return true, nil
}

// Learn has the keeper remember what a server has told that was reached by one of its keys: the
// next one, or zero.
func (r *Remote) Learn(by, next noise.PublicKey) error {
	_, err := r.Ask("learn", lesson{by, next}, nil)
	return err
}
