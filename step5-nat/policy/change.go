// Package policy makes routes and policy rules (ip-rule(8)), and takes them back.
// Introduced in step 5.
//
// A Change is one command that a person could type, with its opposite. CarryOut carries
// out a list of them, and undoes those that it has done if one fails. With each route and
// rule the kernel stores a number for the program that made it; ours is MadeBy, so that a
// later run finds those that a killed one left.
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

// A Change is one command, with the functions that carry it out and undo it.
type Change struct {
	Command string // as one would type it

	// If the kernel has the same rule or route already, Do returns unix.EEXIST, and makes
	// no second one.
	Do, Undo func() error
}

// CarryOut does the changes in order. Before each, it calls log, such as slog.Info, with
// the command as one would type it. The function that it returns undoes the changes, the
// last one first; it may be called more than once. If a change fails, CarryOut undoes
// those before it.
//
//exercise:2
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

// takeBack undoes the changes, the last one first. It continues after an error, to leave
// as little as possible behind, and returns all errors but those of what is gone already.
//
//exercise:2
func takeBack(done []Change) error {
	var errs []error
	for _, ch := range slices.Backward(done) {
		if err := ch.Undo(); err != nil && !gone(err) {
			errs = append(errs, ch.failed(err))
		}
	}
	return errors.Join(errs...)
}

// failed adds the command to its error, and a hint if there is one.
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

// gone reports whether err says that the route or rule to remove does not exist any more:
// it vanished with the device, or a person has removed it.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
