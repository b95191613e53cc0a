package keep

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/policy"
)

// Changes are rules and routes that are in force. The zero value has none. Its methods
// may be called from any goroutine.
type Changes struct {
	mu   sync.Mutex
	list []policy.Change // guarded by mu
}

// CarryOut carries a list out, in the place of the one before, as policy.CarryOut does.
// A daemon has many: the log has them at debug level.
func (c *Changes) CarryOut(list []policy.Change) (undo func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	back, err := policy.CarryOut(list, slog.Debug)
	if err != nil {
		return nil, err
	}
	c.list = list
	return sync.OnceValue(func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.list = nil
		return back()
	}), nil
}

// Mend does the changes once more, in order, and returns the commands of those that
// had been missing. One that fails does not keep it from the others.
func (c *Changes) Mend() (mended []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, ch := range c.list {
		switch err := ch.Do(); {
		case err == nil:
			mended = append(mended, ch.Command)
		case !errors.Is(err, unix.EEXIST): // else it holds
			errs = append(errs, fmt.Errorf("%s: %w", ch.Command, err))
		}
	}
	return mended, errors.Join(errs...)
}
