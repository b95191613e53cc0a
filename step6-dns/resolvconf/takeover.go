package resolvconf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
)

// prepare puts back what is left from before, looks at what there is, and
// writes down what is to be changed. It changes nothing else itself.
func prepare(c Config, s *state) (*journal, error) {
	if _, err := s.recover(); err != nil {
		return nil, err
	}
	itf, err := net.InterfaceByName(c.Device)
	if err != nil {
		return nil, fmt.Errorf("tunnel device %q: %w", c.Device, err)
	}
	resolved := resolvedAnswers()
	manager, err := detect(c.Path, resolved)
	if err != nil {
		return nil, err
	}
	j := &journal{Version: version, Path: c.Path, Boot: bootID(), Device: c.Device, Index: itf.Index, Resolved: resolved}
	switch manager.Kind {
	case Stub:
	case Openresolv:
		j.Openresolv = true
	default:
		if j.File, err = planFile(c, manager, resolved); err != nil {
			return nil, err
		}
	}
	slog.Info(fmt.Sprintf("%s is %v", c.Path, manager))
	return j, s.save(j)
}

// takeOver does what the journal says.
func (j *journal) takeOver(c Config) error {
	if j.File != nil {
		if err := j.File.takeOver(c.Path); err != nil {
			return fmt.Errorf("taking over %s: %w", c.Path, err)
		}
	}
	if j.Openresolv {
		if err := openresolvAdd(c); err != nil {
			return err
		}
	}
	if j.Resolved {
		return resolvedUse(c)
	}
	return nil
}

// putBack undoes that, as far as it was done, and forgets the journal. If it
// fails the journal stays, for the next time.
func (s *state) putBack(j *journal) error {
	var errs []error
	if j.Resolved {
		j.resolvedRevert()
	}
	if j.Openresolv {
		errs = append(errs, j.openresolvDelete())
	}
	if j.File != nil {
		errs = append(errs, s.putBackFile(j))
	}
	if err := errors.Join(errs...); err != nil {
		return app.Hint(fmt.Errorf("%s is not as it was: %w", j.Path, err), "When that is mended: %s -recover", program())
	}
	return s.remove()
}

// putBackFile restores the file, unless another program has changed it since.
func (s *state) putBackFile(j *journal) error {
	left, err := j.File.putBack(j.Path)
	switch {
	case err != nil:
		return err
	case !left:
		slog.Info(j.Path + ": as it was")
		return nil
	}
	kept, err := s.keep(j.File.Found)
	if err != nil {
		return err
	}
	slog.Warn(fmt.Sprintf("%s was changed by another program meanwhile: left alone. Before, %s", j.Path, kept))
	return nil
}

// recover puts back what the journal has, if there is one.
func (s *state) recover() (found bool, err error) {
	atomicfile.RemoveDraft(s.journal) // of who was killed before the journal was whole, and so before anything changed
	j, err := load(s.journal, s.path)
	if err != nil {
		return false, app.Hint(fmt.Errorf("journal %s: %w", s.journal, &Damaged{s.journal, err}),
			"Nothing was changed. See whether %s is as it should be, and remove the journal.", s.path)
	}
	if j == nil {
		return false, nil
	}
	slog.Info("a client was killed: putting name resolution back as it was", "journal", s.journal)
	return true, s.putBack(j)
}
