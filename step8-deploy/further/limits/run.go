package limits

import (
	"context"
	"log/slog"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

const (
	lookEvery = 250 * time.Millisecond // at the registry and the clock
	saveEvery = 10 * time.Second       // a server that is killed forgets what was used within this time
)

// The Clients are a hub.Hub.
type Clients interface {
	Cut(key noise.PublicKey, why secure.Rejected)
	Tell(key noise.PublicKey, kind byte, content []byte)
}

// Run does what is due until ctx ends: it takes over a new registry, begins quotas anew, cuts off
// or slows down clients that have used theirs up, tells them, and saves what was used.
func (t *Table) Run(ctx context.Context, clients Clients) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := time.Time{}
	go t.save(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.wake:
		}
		t.Update()
		again := time.Since(said) >= sayEvery
		if again {
			said = time.Now()
		}
		t.look(clients, again)
	}
}

// save saves what was used until ctx ends. It has a goroutine of its own, so that a slow disk puts
// off nothing else.
func (t *Table) save(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.Save()
		}
	}
}

// A message is what a client is told.
type message struct {
	key  noise.PublicKey
	name string
	why  *secure.Rejected // nil: its quota is not used up any more
	news bool
}

// look judges all clients. again says that those who are slowed down are told so once more, as a
// message may get lost, and they may have connected since.
func (t *Table) look(clients Clients, again bool) {
	var list []message
	t.mu.Lock()
	now := time.Now()
	for _, c := range t.clients {
		why := c.judge(now)
		news := c.told != (why != nil)
		c.told = why != nil
		if news || again && why != nil {
			list = append(list, message{c.key, c.name, why, news})
		}
	}
	t.mu.Unlock()
	for _, m := range list {
		switch {
		case m.why == nil:
			slog.Info("a quota begins anew, or was raised", "client", m.name)
			clients.Tell(m.key, KindNotice, nil)
			continue
		case m.news:
			slog.Info("a quota is used up", "client", m.name, "told", m.why.Reason)
		}
		if m.why.Final {
			clients.Cut(m.key, *m.why)
		} else {
			clients.Tell(m.key, KindNotice, []byte(secure.Sentence(m.why.Reason)))
		}
	}
}
