package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
)

// A client's history is erased by a request, which is a file in the folder: a server that runs
// finds it within the time between two writes. If none runs, the command does the work itself.

const (
	requestName = "forget"    // has the name of the client
	requestMax  = 256         // bytes
	forgetIn    = time.Minute // as long a command waits
)

// Forget erases what is kept in the folder pool about all clients that have a name, or had it
// at any time, whether or not a server runs. What they use from now on counts again.
func Forget(ctx context.Context, pool, name string) error {
	if err := identity.CheckName(name); err != nil {
		return app.Usage("%w", err)
	}
	if known, err := isKnown(pool, name); err != nil || !known {
		if errors.Is(err, fs.ErrNotExist) {
			err = NotKept(pool)
		}
		return cmp.Or(err, fmt.Errorf("nothing is kept about a client with the name %s", name))
	}
	if err := ask(pool, name); err != nil {
		return err
	}
	for limit := time.Now().Add(forgetIn); ; {
		if done, err := forgetHere(pool); done || err != nil {
			return err
		}
		if asked, err := isAsked(pool); !asked || err != nil {
			return err // the server has done it
		}
		if time.Now().After(limit) {
			return app.Hint(fmt.Errorf("the server that runs has not erased the usage of %s yet", name),
				"Its log says why: journalctl -u 'stepvpn-server*'. The request stays, and it does so once it can write to its files.")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ask writes a request.
func ask(pool, name string) error {
	root, err := openFolder(pool)
	if err != nil {
		return err
	}
	defer root.Close()
	d := &disk{root: root}
	if d.lock, err = root.Open("."); err != nil {
		return err
	}
	defer d.lock.Close()
	if err := d.write(requestName+draftSuffix, func(w io.Writer) error { _, err := io.WriteString(w, name+"\n"); return err }); err != nil {
		return err
	}
	err = root.Link(requestName+draftSuffix, requestName)
	root.Remove(requestName + draftSuffix)
	if errors.Is(err, fs.ErrExist) {
		return app.Hint(errors.New("somebody else is erasing the usage of a client"), "Try again in a few seconds.")
	}
	return err
}

// isKnown reports whether a client of a name is in the files. What a server has counted in the
// last seconds is not.
func isKnown(pool, name string) (known bool, err error) {
	root, err := openFolder(pool)
	if err != nil {
		return false, err
	}
	defer root.Close()
	all, err := list(root)
	if err != nil {
		return false, err
	}
	for _, g := range slices.Concat(all[:]...) {
		g.clientsIn(root, func(clients []Client) { // a damaged one is read up to the damage
			known = known || slices.ContainsFunc(clients, func(who Client) bool { return who.Name == name })
		})
	}
	return known, nil
}

func isAsked(pool string) (bool, error) {
	root, err := openFolder(pool)
	if err != nil {
		return false, err
	}
	defer root.Close()
	_, err = root.Lstat(requestName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, err
}

// forgetHere carries out a request, if no server has the files.
func forgetHere(pool string) (done bool, err error) {
	l := New(pool)
	d, err := openDisk(pool, 0)
	if errors.Is(err, atomicfile.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.close()
	if err := newState().replay(d.root, &d.segments, d.repair); err != nil {
		return false, err
	}
	l.disk = d
	return true, l.forgetAsked()
}

// forgetAsked carries out a request, if there is one. The caller holds io.
func (l *Log) forgetAsked() error {
	f, err := l.disk.root.OpenFile(requestName, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var text []byte
		text, err = io.ReadAll(io.LimitReader(f, requestMax))
		f.Close()
		if err == nil {
			err = l.forget(strings.TrimSpace(string(text)))
		}
	}
	if err != nil {
		return fmt.Errorf("erasing what a client has used: %w", err)
	}
	return l.disk.root.Remove(requestName)
}

// forget erases all that is known of those who have or had a name. The caller holds io.
func (l *Log) forget(name string) error {
	gone := make(map[noise.PublicKey]bool)
	note := func(clients []Client) {
		for _, who := range clients {
			if who.Name == name {
				gone[who.Key] = true
			}
		}
	}
	all := slices.Concat(l.disk.segments[:]...)
	for _, g := range all {
		err := g.clientsIn(l.disk.root, note)
		if err != nil && !errors.Is(err, errTorn) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.mu.Lock()
	note(l.state.clients.list)
	for _, f := range l.state.queue {
		note(f.clients.list)
	}
	l.state.forget(gone)
	l.mu.Unlock()
	for _, g := range all {
		if err := l.disk.rewrite(g, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(l.disk.root.RemoveAll(damagedName), l.disk.lock.Sync())
}

// forget erases clients from memory.
func (s *state) forget(gone map[noise.PublicKey]bool) {
	keep := func(clients *clientIDs, groups []group) []group {
		kept := make([]group, 0, len(groups))
		for _, g := range groups {
			entries := slices.Clone(g.entries) // somebody may be reading the others: see memory
			entries = slices.DeleteFunc(entries, func(e entry) bool { return gone[clients.list[e.id].Key] })
			kept = append(kept, group{g.slot, entries})
		}
		return kept
	}
	s.queued = 0
	for i, f := range s.queue {
		copy := *f
		copy.groups = keep(f.clients, f.groups)
		s.queue[i] = &copy
		s.queued += copy.size()
	}
	s.pending = keep(s.clients, s.pending)
	for i := range s.sums {
		maps.DeleteFunc(s.sums[i].counts, func(id uint32, _ *Counts) bool { return gone[s.clients.list[id].Key] })
	}
}

// clientsIn calls note for the clients that a segment names.
func (g *segment) clientsIn(root *os.Root, note func([]Client)) error {
	d := newDecoder(rings[g.ring])
	_, err := g.read(root, func(_ header, body io.Reader) error {
		err := d.decode(body, func(int64, Client, Counts) bool { return true })
		note(slices.Collect(maps.Values(d.clients)))
		return err
	})
	return err
}

// rewrite writes a segment again without some clients, if it names any of them.
func (d *disk) rewrite(g *segment, gone map[noise.PublicKey]bool) error {
	found := false
	err := g.clientsIn(d.root, func(list []Client) {
		found = found || slices.ContainsFunc(list, func(who Client) bool { return gone[who.Key] })
	})
	if !found {
		if errors.Is(err, errTorn) {
			err = nil
		}
		return err
	}
	g.close()
	draft, size := g.name+draftSuffix, int64(len(magic))
	err = d.write(draft, func(w io.Writer) error {
		if _, err := io.WriteString(w, magic); err != nil {
			return err
		}
		old, ids, named := newDecoder(rings[g.ring]), new(clientIDs), make(map[uint32]bool)
		_, err := g.read(d.root, func(h header, body io.Reader) error {
			f := frame{ring: g.ring, seq: h.seq, covers: h.covers, clients: ids}
			if err := old.decode(body, func(slot int64, who Client, c Counts) bool {
				if gone[who.Key] {
					return true
				}
				if n := len(f.groups); n == 0 || f.groups[n-1].slot != slot {
					f.groups = append(f.groups, group{slot: slot})
				}
				last := &f.groups[len(f.groups)-1]
				last.entries = append(last.entries, entry{ids.id(who), c})
				return true
			}); err != nil {
				return err
			}
			for _, group := range f.groups {
				group.sort()
			}
			b, err := f.encode(named)
			if err != nil {
				return err
			}
			f.name(named)
			size += int64(len(b))
			_, err = w.Write(b)
			return err
		})
		if errors.Is(err, errTorn) {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	g.size = size
	return d.root.Rename(draft, g.name)
}
