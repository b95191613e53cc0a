package app

import (
	"errors"
	"slices"
)

// An Undo remembers how to restore a host. The zero value is ready to use. It is not safe
// for concurrent use.
//
//	var undo app.Undo
//	defer undo.All(&err)
//	if err := undo.Add(route.Default(...)); err != nil { ... }
type Undo struct{ steps []func() error }

// Add takes the results of a function that changes the host: the function that undoes the
// change, which Add remembers, and the error, which it returns.
func (u *Undo) Add(step func() error, err error) error {
	if err != nil {
		return err
	}
	u.steps = append(u.steps, step)
	return nil
}

// All undoes all changes, the last one first, and continues if one fails. It adds the
// errors to err.
func (u *Undo) All(err *error) {
	errs := []error{*err}
	for _, step := range slices.Backward(u.steps) {
		errs = append(errs, step())
	}
	u.steps = nil
	*err = errors.Join(errs...)
}
