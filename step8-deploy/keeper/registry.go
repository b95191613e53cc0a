package keeper

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"stepvpn/shared/atomicfile"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/privsep"
)

// This file copies the registry of clients for the worker.
//
// The server's worker parses the registry, but may not read the operator's file. So
// it has a copy.
const (
	eventRegistry = "registry"
	lookEvery     = 250 * time.Millisecond
)

// copyRegistry copies the registry, unless other users may change it. The worker reports
// mistakes in its lines, under the registry's own name.
func (s *Server) copyRegistry() error {
	s.copying.Lock()
	defer s.copying.Unlock()
	s.copied = identity.StampOf(s.cfg.Clients) // before it is read, so that no later change is missed
	to := filepath.Join(s.folder(), RegistryName)
	text, info, err := atomicfile.Read(s.cfg.Clients, identity.MaxFile, atomicfile.Follow)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := identity.Kind.Check(s.cfg.Clients, info); err != nil {
		return err
	}
	return atomicfile.Write(to, text, atomicfile.Options{Mode: info.Mode().Perm() | 0o400, Owner: &s.owner})
}

// renewRegistry copies the registry, and reports a failure: clients that were revoked might
// still come in.
func (s *Server) renewRegistry() error {
	err := s.copyRegistry()
	var stale *Problem
	if err != nil {
		stale = &Problem{
			What: "the registry can't be read or copied, and the last good one stays in force: " + err.Error(),
			Cure: "Check the file, and make room on the disk that has the folder of the setting state.",
		}
		if before := s.stale.Load(); before == nil || *before != *stale {
			slog.Error(stale.What, "cure", stale.Cure)
		}
	}
	s.stale.Store(stale)
	return err
}

// followRegistry copies the registry whenever it has changed and has then been stable. Before
// each copy it calls before, which sends what new clients need; after it, tell. It repeats
// what fails.
func (s *Server) followRegistry(ctx context.Context, before, tell func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := identity.StampOf(s.cfg.Clients)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		last := seen
		seen = identity.StampOf(s.cfg.Clients)
		if seen != last || seen == s.lastCopied() && s.stale.Load() == nil {
			continue
		}
		before()
		if s.renewRegistry() == nil {
			tell()
		}
	}
}

func (s *Server) lastCopied() identity.Stamp {
	s.copying.Lock()
	defer s.copying.Unlock()
	return s.copied
}

const eventChanged = "changed"

// Changed makes the worker read the registry, which the keeper itself has changed, and tells it what has
// happened. Without a worker there is nothing to do: the next one reads the registry when it starts.
func (s *Server) Changed(c *privsep.Conn, event control.Event) {
	if c == nil {
		return
	}
	s.tellPSKSecret(c)
	if s.renewRegistry() == nil {
		c.Tell(eventRegistry, nil)
	}
	c.Tell(eventChanged, event)
}
