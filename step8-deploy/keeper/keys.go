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

// This file remembers the next keys of a client's servers.
//
// A server that changes its key announces the next one to its clients (see package rotation).
// The worker receives it, and the keeper remembers it, also for the next start. The keeper
// can't see whether a server has really said that. So a remembered key is only tried first:
// if no server answers to it, the client tries the key in the settings again. When the
// settings name another key, everything remembered is dropped.

// A lesson is what a server, reached by one of its keys, has announced.
type lesson struct {
	By   noise.PublicKey
	Next noise.PublicKey // the next key; zero if it does not change its key
}

// lessons limits how often there can be news, and so what is written to disk and log.
type lessons struct {
	since time.Time
	n     int
}

const maxLessons = 8 // per hour

func (l *lessons) allow(now time.Time) bool {
	if now.Sub(l.since) >= time.Hour {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= maxLessons
}

// learn remembers what a server has announced. If that is news, it makes the worker fetch
// new settings.
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
		return false, fmt.Errorf("the keys that the server has announced can't be remembered: %w", err)
	}
	told := new(*k.told)
	told.Learned = keys
	k.told = told
	if l.Next != (noise.PublicKey{}) {
		slog.Info("the server changes its key: from now on, this client uses the next one", "key", noise.FormatKey(l.Next))
	} else {
		slog.Info("some of the keys that the server had announced are no longer used", "left", len(keys))
	}
	return true, nil
}

// In the worker, from here on:

// Learn makes the keeper remember what a server that was reached by the key by has announced:
// its next key, or zero if it does not change its key.
func (r *Remote) Learn(by, next noise.PublicKey) error {
	_, err := r.Ask("learn", lesson{by, next}, nil)
	return err
}
