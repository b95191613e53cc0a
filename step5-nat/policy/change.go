// Package policy makes routes and policy rules (ip-rule(8)), and takes them back.
// Introduced in step 5.
//
// A Change is one command that a person could type, with its opposite. CarryOut
// does a list of them, and undoes what it did when one fails. The kernel keeps a
// number with each route and rule for who made it; ours is MadeBy, so that a later
// run finds what a killed one left.
//
// All functions may be called from any goroutine, and act in the network
// namespace of the thread that they run on.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// A Change is one command, what carries it out, and what takes it back.
type Change struct {
	Command string // as one would type it

	// Do of a rule or a route returns unix.EEXIST if it is there already: there
	// are never two.
	Do, Undo func() error
}

// CarryOut does the changes in order, and first tells log each as it would be typed:
// slog.Info, say. The function that it returns takes them back, the last one first; it
// may be called more than once. If a change fails, those before it are undone.
func CarryOut(list []Change, log func(command string, args ...any)) (undo func() error, err error) {
	var done []Change
	undo = sync.OnceValue(func() error { return takeBack(done) })
	for _, ch := range list {
		log(ch.Command)
		if err := ch.Do(); err != nil {
			return nil, errors.Join(ch.failed(err), undo())
		}
		done = append(done, ch)
	}
	return undo, nil
}

// takeBack undoes the changes, the last one first. It goes on after an error, to
// leave as little as possible.
func takeBack(done []Change) error {
	var errs []error
	for _, ch := range slices.Backward(done) {
		if err := ch.Undo(); err != nil && !gone(err) {
			errs = append(errs, ch.failed(err))
		}
	}
	return errors.Join(errs...)
}

// failed names the command in its error.
func (ch Change) failed(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return hostnet.NeedsRoot(fmt.Errorf("%s: %w", ch.Command, err))
	case errors.Is(err, unix.EEXIST):
		return app.Hint(fmt.Errorf("%s: it exists already", ch.Command),
			"Another client was started at the same time: stop one of them.")
	case errors.Is(err, unix.ENETDOWN):
		return app.Hint(fmt.Errorf("%s: %w", ch.Command, err), "Bring the device up first.")
	}
	return fmt.Errorf("%s: %w", ch.Command, err)
}

// gone reports whether err says that the thing to remove was not there: the
// device took its route along, or a person was faster.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
