package cookie

import (
	"crypto/cipher"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// Client returns a Link around lower, the Link to a server, for a secure.Client to use.
// It adds the codes to the initiations that are written to it, and keeps the cookies that
// arrive. All other messages pass unchanged.
//
// It needs no timer or goroutine of its own, and sends nothing by itself: once it has a
// cookie, the client's next try has a mac2. Cookies that do not belong to the last
// initiation are dropped and counted.
func Client(lower link.Link, server noise.PublicKey, drops *link.Drops) link.Link {
	return &client{
		lower:  lower,
		drops:  drops,
		mac1:   mac1Of(server),
		cipher: cipherOf(server),
	}
}

type client struct {
	lower  link.Link
	drops  *link.Drops
	cipher cipher.AEAD
	own    *hasher // checks responses, if they have codes (response.go); used by who reads

	mu      sync.Mutex // guards all below
	mac1    *hasher
	asked   bool      // an initiation was sent, and no cookie has come for it yet
	index   uint32    // our index in it
	code    mac       // its mac1
	cookie  mac       // the last one
	arrived time.Time // when that cookie came; zero if there is none
}

func (c *client) WriteBurst(b *link.Burst) error {
	n := b.Len()
	kept := 0
	for i := range n {
		m := b.At(i)
		if isType(m, typeInitiation) {
			if m = c.sign(b, m); m == nil {
				c.drops.Add(link.TooBig)
				continue
			}
			b.Set(kept, m)
		} else if kept < i {
			b.Set(kept, m)
		}
		kept++
	}
	b.Truncate(kept)
	if kept == 0 && n > 0 {
		return nil
	}
	return c.lower.WriteBurst(b)
}

// sign returns a copy of an initiation, in the same burst, with its codes. It returns
// nil if the burst has no room for the copy, as when it holds 64 messages already.
func (c *client) sign(b *link.Burst, initiation []byte) []byte {
	m := b.Alloc(len(initiation) + Overhead)
	if m == nil {
		return nil
	}
	copy(m, initiation)
	c.mu.Lock()
	defer c.mu.Unlock()
	covered, code := mac1At(m)
	c.asked, c.index, c.code = true, index(m), c.mac1.sum(covered)
	copy(code, c.code[:])
	covered, code = mac2At(m)
	if !c.arrived.IsZero() && time.Since(c.arrived) < lifetime {
		mac2 := newHasher(c.cookie[:]).sum(covered)
		copy(code, mac2[:])
	} else {
		clear(code)
	}
	return m
}

func (c *client) ReadBurst(b *link.Burst) error {
	for {
		if err := c.lower.ReadBurst(b); err != nil {
			return err
		}
		n := b.Len()
		kept := 0
		for i := range n {
			m := b.At(i)
			if isType(m, typeReply) {
				c.keep(m)
				continue
			}
			if c.own != nil && isType(m, typeResponse) {
				if m = c.unsigned(m); m == nil {
					continue
				}
				b.Set(kept, m)
			} else if kept < i {
				b.Set(kept, m)
			}
			kept++
		}
		if kept > 0 || n == 0 {
			b.Truncate(kept)
			return nil
		}
	}
}

// keep takes the cookie out of a reply. It accepts at most one for each initiation, so a
// replayed reply changes nothing.
func (c *client) keep(m []byte) {
	if len(m) != replyLen {
		c.drops.Add(secure.BadMessage)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked || index(m) != c.index {
		c.drops.Add(secure.UnknownIndex)
		return
	}
	nonce, sealed := m[headerLen:][:chacha20poly1305.NonceSizeX], m[headerLen+chacha20poly1305.NonceSizeX:]
	cookie, err := c.cipher.Open(nil, nonce, sealed, c.code[:])
	if err != nil {
		c.drops.Add(secure.BadTag)
		return
	}
	c.asked = false
	c.cookie, c.arrived = mac(cookie), time.Now()
}

func (c *client) Close() error { return c.lower.Close() }
