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
)

// The worker parses the registry, but may not read the file: that belongs to the
// operator. So it has a copy.
const (
	eventRegistry = "registry"
	lookEvery     = 250 * time.Millisecond
)

// copyRegistry has the copy be as the registry is, unless others may change that. What is
// wrong with its lines the worker says, by the registry's own name.
func (s *Server) copyRegistry() error {
	s.copying.Lock()
	defer s.copying.Unlock()
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

// followRegistry copies the registry whenever it has changed, and is quiet again, and
// tells of it.
func (s *Server) followRegistry(ctx context.Context, tell func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	copied := identity.StampOf(s.cfg.Clients)
	seen := copied
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := seen
		seen = identity.StampOf(s.cfg.Clients)
		if seen != before || seen == copied {
			continue
		}
		copied = seen
		if err := s.copyRegistry(); err != nil {
			slog.Error("the registry is broken: the last good one stays in force", "error", err)
			continue
		}
		tell()
	}
}
